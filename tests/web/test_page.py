"""The page without JavaScript, its files, and the form for the token."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from edge_agent.config.schema import WebConfig
from edge_agent.inference import Score
from edge_agent.web import page
from edge_agent.web.token_file import TokenFile
from tests.mqtt import samples
from tests.web.helpers import Client, FakeAgent, serving

STATIC = Path(page.__file__).parent / "static"


def test_without_javascript_it_shows_the_state(client: Client) -> None:
    html = client.ask("/").body.decode()
    assert '<p class="label" id="label">tabby</p>' in html
    assert ">61%</meter>" in html
    assert "88 of 128 MB" in html
    assert "resnet18, xnnpack fp16" in html
    assert '<noscript><meta http-equiv="refresh"' in html


def test_before_the_first_frame_it_says_so(client: Client, agent: FakeAgent) -> None:
    agent.present, agent.how, agent.what = (), None, None
    html = client.ask("/").body.decode()
    assert "No frame yet" in html
    assert "picture waiting" in html
    assert "frame.jpg" not in html  # there is none to ask for


def test_what_is_off_is_said_with_how_to_allow_it(client: Client, agent: FakeAgent) -> None:
    html = client.ask("/").body.decode()
    assert "<code>web.allow_teach: true</code>" in html
    assert "<code>web.allow_edit: true</code>" in html
    agent.settings = replace(agent.settings, web=WebConfig(allow_edit=True, allow_teach=True))
    assert "is off here" not in client.ask("/").body.decode()


def test_a_label_cannot_bring_html_along(client: Client, agent: FakeAgent) -> None:
    state = samples.state(label="<script>alert(1)</script>{{board}}")
    object.__setattr__(state, "top", (Score('"><img src=x onerror=alert(1)>', 0, 0.5),))
    agent.present = (state,)
    html = client.ask("/").body.decode()
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "{{board}}" in html


def test_nothing_comes_from_elsewhere_and_nothing_is_inline(client: Client) -> None:
    for name in ("/", "/login"):
        html = client.ask(name).body.decode()
        assert not re.search(r"https?://|//[a-z]|\son[a-z]+=|style=|javascript:", html)
        assert re.findall(r"<script[^>]*>([^<]*)", html) in ([], [""])
    for file in STATIC.glob("*.js"):
        text = file.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), (
            file.name
        )
        assert set(re.findall(r"https?://[^\"']*", text)) <= {"http://www.w3.org/2000/svg"}


def test_everything_that_it_names_is_there_and_small(client: Client) -> None:
    class Names(HTMLParser):
        found: set[str] = set()  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            name = dict(attrs).get("href" if tag == "link" else "src")
            if tag in ("link", "script") and name:
                self.found.add(name)

    front = client.ask("/")
    Names().feed(front.body.decode())
    names = Names.found | {f"static/{file.name}" for file in STATIC.glob("*.js")}
    files = [client.ask(f"/{name}") for name in names]
    assert {file.status for file in files} == {200}
    assert len(front.body) + sum(len(file.body) for file in files) < 100_000


def test_a_file_that_is_known_is_not_sent_again(client: Client) -> None:
    first = client.ask("/static/page.js")
    assert client.ask("/static/page.js", if_none_match=first.headers["etag"]).status == 304


def test_who_has_the_token_logs_in_and_out(agent: FakeAgent, tmp_path: Path) -> None:
    with serving(agent, tmp_path, token="always") as client:
        assert client.ask("/").headers["location"] == "login"
        assert client.ask("/api/v1/state").status == 401
        assert client.ask("/static/page.js").status == 401
        form = {"content_type": "application/x-www-form-urlencoded"}
        wrong = client.ask("/login", "POST", b"token=guess", **form)
        assert (wrong.status, "not the token" in wrong.body.decode()) == (401, True)
        token = TokenFile(tmp_path).make().encode()
        right = client.ask("/login", "POST", b"token=" + token, **form)
        assert (right.status, right.headers["location"]) == (303, "./")
        cookie = right.headers["set-cookie"].partition(";")[0]
        assert b'action="logout">' in client.ask("/", cookie=cookie).body
        assert client.ask("/logout", "POST", cookie=cookie).status == 303
        assert client.ask("/", cookie=cookie).status == 303
