"""The page of `fleet watch` in Chromium, of devices that a real node of NATS has, some of them hostile."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.payloads import encode
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, wait_until
from tests.tools.fleet.nats import Node
from tests.tools.fleet.test_watch import PORT, devices, say, watching
from tests.web.browser.browser import Browser, browser

pytestmark = pytest.mark.web

URL = f"http://{HOST}:{PORT}/"
HOSTILE = '"><img src=x onerror="window.hurt=1"><script>window.hurt=1</script></td></table>'
NAMES = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[0].textContent)"


@pytest.fixture(scope="module", autouse=True)
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Three devices, and one whose every word is an attack."""
    directory = tmp_path_factory.mktemp("fleet")
    health, info = json.loads(encode(samples.health())), json.loads(encode(samples.info()))
    with Node(directory / "nats", "n1") as node, watching(node, directory / "watch.log", "following"):
        messages = []
        for name, rss_mb in (("attic", 70), ("barn", 9), ("cellar", 120)):
            changed = {**health, "memory": {**health["memory"], "rss_mb": rss_mb}}
            messages.append(Message(f"edge_agent/{name}/health", json.dumps(changed).encode(), retain=True))
        groups = [{"group": HOSTILE, "revision": HOSTILE, "refused": [{"what": HOSTILE, "why": HOSTILE}]}]
        attack = {**info, "version": HOSTILE, "model": {"name": HOSTILE, "sha256": HOSTILE}, "groups": groups}
        messages += [
            Message("edge_agent/evil/info", json.dumps(attack).encode(), retain=True),
            Message("edge_agent/evil/state", json.dumps({"label": HOSTILE}).encode(), retain=True),
            Message("edge_agent/<img>/health", encode(samples.health())),
        ]
        say(node, *messages)
        wait_until(lambda: len(devices()) == 4 and "<img" in json.dumps(devices()), 60)
        yield


@pytest.fixture
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def test_a_click_on_a_column_sorts_and_a_second_one_turns_the_order(window: Browser) -> None:
    window.open(URL)
    assert window.run(f"return {NAMES}") == ["attic", "barn", "cellar", "evil"]
    column = "//a[text()='memory, MB']"
    for expected in (["evil", "barn", "attic", "cellar"], ["cellar", "attic", "barn", "evil"]):
        window.run("document.evaluate(arguments[0], document, null, 9).singleNodeValue.click()", column)
        assert window.until(f"{NAMES}.join() === arguments[0]", ",".join(expected))
    assert window.run("return document.querySelector('[aria-sort]').textContent") == "memory, MB"


def test_the_filter_leaves_what_has_all_words_and_keeps_the_order(window: Browser) -> None:
    window.open(f"{URL}?sort=-memory")
    window.type("input[name=q]", "running yes")
    window.click("button")
    window.until("location.search.includes('q=running+yes')")
    assert window.run(f"return {NAMES}") == ["cellar", "attic", "barn"]
    assert "3 of 3 devices are there" in window.text("main")


def test_the_page_loads_itself_again_where_that_was_asked_for(window: Browser) -> None:
    window.open(URL)
    assert window.run("return document.querySelector('meta[http-equiv]')") is None
    window.click("input[name=renew]")
    window.click("button")
    window.until("document.querySelector('meta[http-equiv=refresh]')")
    assert window.run("return document.querySelector('th a').href").endswith("&renew=1")


def test_nothing_that_devices_or_addresses_say_becomes_part_of_the_page(window: Browser) -> None:
    for address in (URL, f"{URL}?q={HOSTILE}&sort={HOSTILE}"):
        window.open(address)
        assert window.run("return document.querySelectorAll('img, script').length") == 0
        assert window.run("return window.hurt") is None
        assert window.run("return document.querySelectorAll('table').length") == 1
    window.open(f"{URL}?q=evil")
    assert HOSTILE[:80] in window.run("return document.querySelector('tbody').textContent")
    assert [line for line in window.complaints() if "favicon" not in line] == []


def test_without_javascript_it_is_the_same() -> None:
    with browser(javascript=False) as window:
        window.open(f"{URL}?q=yes&sort=-memory")
        html = window.command("DOMSnapshot.captureSnapshot", {"computedStyles": []})
        shown = html["strings"]
    assert {"attic", "barn", "cellar", "3 of 3 devices are there."} <= set(shown)
    assert shown.index("cellar") < shown.index("attic") < shown.index("barn")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(window: Browser, axe: str, scheme: str, width: int) -> None:
    window.resize(width, 800)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    window.command("Emulation.setEmulatedMedia", {"features": features})
    window.open(f"{URL}?sort=memory")
    window.run(axe)
    result = window.run("return axe.run().then((found) => found.violations)")
    assert [(found["id"], [node["html"][:200] for node in found["nodes"]]) for found in result] == []
