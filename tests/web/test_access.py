"""Who may see the page, and who may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config.address import listen_address
from edge_agent.web.access import COOKIE, Access, AccessRules
from edge_agent.web.exchange import Head, RefusedError
from edge_agent.web.token_file import TokenFile
from tests.clock import FakeClock

LOCAL, OPEN = "127.0.0.1:8384", "0.0.0.0:8384"
NAMES = frozenset(("porch", "porch.local", "camera.example"))


class Door:
    """An access with its token, in a state directory of its own."""

    def __init__(self, state_dir: Path, listen: str = LOCAL, token: str = "auto") -> None:
        self.clock = FakeClock()
        self.file = TokenFile(state_dir)
        self.token = self.file.make()
        rules = AccessRules(listen_address(listen), NAMES, token)  # type: ignore[arg-type]
        self.access = Access(rules, self.file, self.clock)

    def refusal(self, path: str = "/", method: str = "GET", client: str = "127.0.0.1", **headers: str) -> str:
        """The code of the refusal; empty where the request is let through."""
        sent = {
            name.replace("_", "-"): value for name, value in {"host": "localhost:8384", **headers}.items()
        }
        try:
            self.access.check(Head(method, path, "", sent, client))
        except RefusedError as refused:
            return refused.code
        return ""


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1234", "127.0.0.1:8384", "[::1]:8384", "LOCALHOST."]
)
def test_on_this_machine_no_token_is_needed(door: Door, host: str) -> None:
    assert door.refusal(host=host) == ""


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8384", "", "localhost.evil.example", "localhost@evil", "[::1", "a b"],
)
def test_another_name_is_refused_against_rebinding(door: Door, host: str) -> None:
    assert door.refusal(host=host) == "unknown_host"


@pytest.mark.parametrize("host", ["camera.example", "porch.local:8384", "192.168.1.5:8384"])
def test_by_a_name_of_the_network_a_token_is_needed(door: Door, host: str) -> None:
    assert door.refusal(host=host) == "token_needed"
    assert door.refusal(host=host, authorization=f"Bearer {door.token}") == ""


@pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "x_real_ip", "via"])
def test_through_a_proxy_a_token_is_needed(door: Door, header: str) -> None:
    assert door.refusal(**{header: "10.0.0.9"}) == "token_needed"


def test_where_others_can_connect_everybody_needs_a_token(tmp_path: Path) -> None:
    door = Door(tmp_path, OPEN)
    assert door.refusal() == "token_needed"
    assert door.refusal(client="10.0.0.9", host="10.0.0.2:8384") == "token_needed"
    assert door.refusal(authorization=f"Bearer {door.token}") == ""


def test_a_token_can_always_be_asked_for(tmp_path: Path) -> None:
    assert Door(tmp_path, token="always").refusal() == "token_needed"


@pytest.mark.parametrize("token", ["", "wrong", "0" * 64, "\u00e9"])
def test_a_wrong_token_is_refused(tmp_path: Path, token: str) -> None:
    door = Door(tmp_path, OPEN)
    assert door.refusal(authorization=f"Bearer {token}") in ("wrong_token", "token_needed")


def test_without_a_token_file_no_token_is_right(tmp_path: Path) -> None:
    door = Door(tmp_path, OPEN)
    next(tmp_path.glob("web-token*")).unlink()
    assert door.refusal(authorization=f"Bearer {door.token}") == "wrong_token"
    assert not TokenFile(tmp_path).is_right("")


def test_the_token_is_kept_as_its_hash_and_for_one_user(door: Door, tmp_path: Path) -> None:
    file = next(tmp_path.glob("web-token*"))
    assert door.token not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_another_token_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    door = Door(tmp_path, OPEN)
    before, now = door.token, door.file.make()
    assert door.refusal(authorization=f"Bearer {before}") == "wrong_token"
    assert door.refusal(authorization=f"Bearer {now}") == ""


def test_guesses_are_counted_for_each_address(tmp_path: Path) -> None:
    door = Door(tmp_path, OPEN)
    guesses = [door.refusal(client="10.0.0.9", authorization="Bearer guess") for _ in range(20)]
    assert guesses.count("wrong_token") == 10
    assert guesses[-1] == "too_many_tokens"
    right = f"Bearer {door.token}"
    assert door.refusal(client="10.0.0.9", authorization=right) == "too_many_tokens"
    assert door.refusal(client="10.0.0.7", authorization=right) == ""
    door.clock.advance(60)
    assert door.refusal(client="10.0.0.9", authorization=right) == ""


def test_requests_are_limited_for_each_address(door: Door) -> None:
    refusals = [door.refusal(client="127.0.0.2") for _ in range(3100)]
    assert refusals.count("") == 3000
    assert refusals[-1] == "too_many_requests"
    assert door.refusal(client="127.0.0.3") == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"origin": "file://"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_another_site_cannot_post(door: Door, headers: dict[str, str]) -> None:
    assert door.refusal("/api/v1/classify", "POST", **headers) == "cross_site"


def test_the_page_itself_can_post(door: Door) -> None:
    own = {"origin": "http://localhost:8384", "sec_fetch_site": "same-origin"}
    assert door.refusal("/api/v1/classify", "POST", **own) == ""


def test_another_site_can_link_here_and_no_more(door: Door) -> None:
    away = {"sec_fetch_site": "cross-site"}
    assert door.refusal("/", sec_fetch_mode="navigate", **away) == ""
    assert door.refusal("/api/v1/frame.jpg", sec_fetch_mode="no-cors", **away) == "cross_site"


def test_a_session_lasts_until_it_is_ended_or_old(tmp_path: Path) -> None:
    door = Door(tmp_path, OPEN)
    head = Head("POST", "/login", "", {"host": "localhost"}, "127.0.0.1")
    cookie = door.access.log_in(door.token, head)
    assert {"HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    session = cookie.partition(";")[0]
    assert door.refusal(cookie=f"other=1; {session}") == ""
    door.clock.advance(31 * 24 * 3600)
    assert door.refusal(cookie=session) == "token_needed"
    session = door.access.log_in(door.token, head).partition(";")[0]
    door.access.log_out(Head("POST", "/logout", "", {"cookie": session}, "127.0.0.1"))
    assert door.refusal(cookie=session) == "token_needed"
    assert door.refusal(cookie=f"{COOKIE}=") == "token_needed"


def test_sessions_are_bounded(tmp_path: Path) -> None:
    door = Door(tmp_path, OPEN)
    head = Head("POST", "/login", "", {"host": "localhost"}, "127.0.0.1")
    sessions = [door.access.log_in(door.token, head).partition(";")[0] for _ in range(40)]
    assert door.refusal(cookie=sessions[0]) == "token_needed"
    assert door.refusal(cookie=sessions[-1]) == ""
