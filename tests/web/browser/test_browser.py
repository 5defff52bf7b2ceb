"""The page as its owner sees it, in Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import NAMES, RIGHT, receive
from tests.mqtt.brokers import Mosquitto
from tests.web.browser.browser import Browser, browser
from tests.web.browser.conftest import Served
from tests.web.helpers import HOST, free_port

pytestmark = pytest.mark.web

LABEL = "document.querySelector('#answers .label').textContent"
TROUBLES = "document.getElementById('troubles').textContent"
STATUS = "document.getElementById('status').textContent"


def fact(name: str) -> str:
    names = "[...document.querySelectorAll('#facts dt')]"
    return f"{names}.find((dt) => dt.textContent === '{name}')?.nextSibling.textContent"


def test_labels_and_frames_change_on_the_screen_as_they_do(served: Served, window: Browser) -> None:
    window.open(served.url)
    window.until(f"{STATUS} === 'live'")
    first, frame = window.run(f"return {LABEL}"), window.run("return document.getElementById('frame').src")
    window.until(f"{LABEL} !== arguments[0]", first)
    window.until("document.getElementById('frame').src !== arguments[0]", frame)
    assert window.until(LABEL) in {label for labels in RIGHT.values() for label in labels}
    window.until("document.querySelectorAll('#events li').length > 3")
    window.until("document.querySelector('#events img')?.naturalWidth > 0")
    window.until("document.querySelectorAll('#charts svg path').length > 2")
    assert "efficientnet_lite0" in window.until("document.getElementById('model-facts').textContent")
    assert [line for line in window.complaints() if "[DOM]" not in line] == []


def test_the_first_paint_is_small_and_quick(served: Served, window: Browser) -> None:
    window.open(served.url)
    paint_ms = window.until("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    sizes = "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
    early = f"{sizes}.filter((entry) => entry.startTime <= {paint_ms} && entry.transferSize)"
    sent = window.run(f"return {early}.reduce((sum, entry) => sum + entry.transferSize, 0)")
    print(f"first paint after {paint_ms:.0f} ms and {sent / 1000:.0f} kB")
    assert sent < 100_000
    assert paint_ms < 3000  # a tenth of that on an idle machine


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_picture_that_is_chosen_gets_its_label(served: Served, window: Browser, name: str) -> None:
    window.open(served.url)
    window.until("!document.getElementById('try-form').hidden")
    window.type("#files", str(PICTURES_DIR / name))
    window.until("document.querySelector('#tried .top li')")
    assert window.run("return document.querySelector('#tried .top li span').textContent") in RIGHT[name]


def test_what_is_no_picture_says_so(served: Served, window: Browser, tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("no picture")
    window.open(served.url)
    window.until("!document.getElementById('try-form').hidden")
    window.type("#files", str(tmp_path / "note.jpg"))
    assert "note.jpg" in window.until("document.querySelector('#tried .problem')?.textContent")


def test_a_wrong_edit_shows_its_line_and_a_right_one_is_in_force(served: Served, window: Browser) -> None:
    window.open(served.url)
    window.until("document.querySelectorAll('#settings-form .setting').length > 50")
    window.run("document.querySelectorAll('#settings-form details').forEach((one) => { one.open = true; })")
    field = "#setting-stabilizer\\.window"
    window.clear(field)
    window.type(field, "0")
    window.click("#settings-form button[type=submit]")
    problem = window.until("document.querySelector('#settings-form ul.problem')?.textContent")
    assert "line " in problem
    assert "stabilizer.window" in problem
    window.clear(field)
    window.type(field, "3")
    window.click("#settings-form button[type=submit]")
    assert "window: 3" in window.until("document.querySelector('#settings-form ins')?.textContent")
    before = served.daemon.config.read_text()
    window.click("#settings-form > p button[type=button]")
    window.until("document.getElementById('settings-form').textContent.includes('in force')")
    assert "window: 3" in served.daemon.config.read_text()
    assert Path(f"{served.daemon.config}.before-edit").read_text() == before
    assert served.client.ask("/api/v1/config").json["config"]["stabilizer"]["window"] == 3


def test_pairs_are_added_changed_and_removed_and_comments_stay(served: Served, window: Browser) -> None:
    labels = "labels:\n  map:  # ours\n    pug: dog  # next door\n    tabby: cat  # Minka\n"
    served.daemon.config.write_text(f"{served.daemon.config.read_text()}{labels}")
    window.open(served.url)
    window.until("document.querySelectorAll('#settings-form .setting').length > 50")
    window.run("document.querySelectorAll('#settings-form details').forEach((one) => { one.open = true; })")
    setting = "document.getElementById('setting-labels.map')"
    assert window.run(f"return [...{setting}.querySelectorAll('input')].map((one) => one.value)") == [
        *("pug", "dog"),
        *("tabby", "cat"),
    ]
    rows = "#setting-labels\\.map .row"
    window.click(f"{rows}:first-child button")
    window.click("#setting-labels\\.map > p button")
    window.type(f"{rows}:last-child input", "Egyptian cat")
    window.type(f"{rows}:last-child input ~ input", "cat")
    window.click("#settings-form button[type=submit]")
    window.until("document.querySelector('#settings-form ins')")
    shown = window.run("return document.querySelector('#settings-form pre').textContent")
    assert [line for line in shown.splitlines() if line[0] in "+-"] == [
        "-    pug: dog  # next door",
        '+    "Egyptian cat": cat',
    ]
    window.click("#settings-form > p button[type=button]")
    window.until("document.getElementById('settings-form').textContent.includes('in force')")
    assert "    tabby: cat  # Minka\n" in served.daemon.config.read_text()
    assert served.client.ask("/api/v1/config").json["config"]["labels"]["map"] == {
        "tabby": "cat",
        "Egyptian cat": "cat",
    }


def test_a_broker_and_a_camera_that_fail_are_seen(
    served: Served, window: Browser, broker: Mosquitto, subscriber: Subscriber
) -> None:
    window.open(served.url)
    window.until(f"{fact('Broker')}?.startsWith('connected')")
    broker.stop()
    window.until(f"{fact('Broker')} && !{fact('Broker')}.startsWith('connected')")
    window.until(f"{TROUBLES}.includes('The broker is not connected')")
    broker.start()
    window.until(f"{fact('Broker')}?.startsWith('connected')")
    served.daemon.edit(source={"type": "http", "http": {"url": "http://127.0.0.1:9/"}})
    window.until(f"{fact('Camera')}?.startsWith('reopening')")
    window.until(f"{TROUBLES}.includes('No pictures come from the camera')")
    served.daemon.kill()
    window.until(f"{STATUS}.startsWith('No answer')")
    del subscriber


def test_a_phone_needs_not_scroll_sideways(served: Served, window: Browser) -> None:
    window.resize(360, 740)
    window.open(served.url)
    window.until(f"{STATUS} === 'live'")
    window.until("document.querySelectorAll('#settings-form .setting').length > 50")
    window.run("document.querySelectorAll('#settings-form details').forEach((one) => { one.open = true; })")
    window.until("document.querySelectorAll('#charts svg').length > 2")
    assert window.run("return document.documentElement.scrollWidth") <= 360


def test_without_javascript_it_still_shows_the_state(served: Served) -> None:
    with browser(javascript=False) as window:
        window.open(served.url)
        html = window.command("DOMSnapshot.captureSnapshot", {"computedStyles": []})
        shown = " ".join(html["strings"])
    assert any(label in shown for labels in RIGHT.values() for label in labels)
    assert "of 512 MB" in shown
    assert "takes JavaScript" in shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(served: Served, window: Browser, axe: str, scheme: str, width: int) -> None:
    window.resize(width, 800)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    window.command("Emulation.setEmulatedMedia", {"features": features})
    for page in ("", "login"):
        window.open(f"{served.url}{page}")
        if not page:
            window.until("document.querySelectorAll('#settings-form .setting').length > 50")
            window.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            window.until("document.querySelectorAll('#charts svg').length > 2")
            window.type("#files", str(PICTURES_DIR / NAMES[0]))
            window.until("document.querySelector('#tried .top li')")
        window.run(axe)
        result = window.run("return axe.run().then((found) => found.violations)")
        assert [(found["id"], [node["html"][:200] for node in found["nodes"]]) for found in result] == []


def test_everything_can_be_reached_by_keyboard(served: Served, window: Browser) -> None:
    window.open(served.url)
    window.until("document.querySelectorAll('#settings-form .setting').length > 50")
    reached = set()
    for _ in range(60):
        for kind in ("keyDown", "keyUp"):
            window.command("Input.dispatchKeyEvent", {"type": kind, "key": "Tab", "windowsVirtualKeyCode": 9})
        reached.add(window.run("return document.activeElement.id || document.activeElement.textContent"))
    assert {"files", "camera", "events", "Show what would change", "API", "metrics"} <= reached


def test_a_regions_box_is_drawn_and_its_label_shown(
    served: Served, window: Browser, subscriber: Subscriber
) -> None:
    served.daemon.edit(regions={"gate": {"box": [0.1, 0.2, 0.5, 0.5]}, "bin": {"box": [0.5, 0.5, 0.4, 0.4]}})
    receive(subscriber, "region/gate/state")
    window.open(served.url)
    window.until("document.querySelectorAll('#boxes rect').length === 2")
    window.until("document.querySelectorAll('.picture .name').length === 2")
    window.until("document.querySelectorAll('#answers .label').length === 2")
    assert window.text("#answers .region") == "gate"


def test_two_states_are_taught_by_clicks_and_seen_to_change(
    start: StartDaemon, subscriber: Subscriber, window: Browser, tmp_path: Path
) -> None:
    scenes = {name: tmp_path / "scenes" / name for name in ("cat", "dog")}
    for name, folder in scenes.items():
        folder.mkdir(parents=True)
        shutil.copy(PICTURES_DIR / f"{name}.jpg", folder)
    port = free_port()
    web = {"enabled": True, "listen": f"{HOST}:{port}", "allow_teach": True}
    daemon = start(web=web, source={"fps": 5, "folder": {"path": str(scenes["cat"])}})
    receive(subscriber, "state")
    window.open(f"http://{HOST}:{port}/")
    window.until("!document.getElementById('teach').hidden")
    window.type("#teach-label", "in")
    window.click("#teach-form button[type=submit]")
    window.until(f"{LABEL} === 'in'")
    daemon.edit(source={"folder": {"path": str(scenes["dog"])}})
    window.until(f"{LABEL} !== 'in'")
    window.type("#teach-label", "out")
    window.click("#teach-form button[type=submit]")
    window.until(f"{LABEL} === 'out'")
    daemon.edit(source={"folder": {"path": str(scenes["cat"])}})
    window.until(f"{LABEL} === 'in'")
    window.until("document.querySelectorAll('#teach-labels button').length === 2")
    window.type("#files", str(PICTURES_DIR / "dog.jpg"))
    window.until("document.querySelectorAll('#tried .top').length === 2")
    assert (
        window.run("return document.querySelectorAll('#tried .top')[1].querySelector('span').textContent")
        == "out"
    )
    window.click("#teach-report")
    window.until("document.getElementById('report').textContent.includes('out: 1')")
    window.click("#teach-undo")
    window.until("document.getElementById('teach-message').textContent.includes('undone')")
    window.until("document.querySelectorAll('#teach-labels button').length === 1")


def test_a_region_is_drawn_on_the_frame(served: Served, window: Browser, subscriber: Subscriber) -> None:
    corners = [0.7, 0.7, 1.0, 0.7, 1.0, 1.0]
    served.daemon.edit(regions={"bin": {"polygon": corners, "priority": 2}})
    receive(subscriber, "region/bin/state")
    window.open(served.url)
    window.until(f"{STATUS} === 'live'")
    window.until("!document.getElementById('region-form').hidden")
    window.click("#region-draw")
    window.run("document.getElementById('frame').scrollIntoView()")
    place = window.run(
        "const box = document.getElementById('frame').getBoundingClientRect();"
        "return [box.left, box.top, box.width, box.height]"
    )
    left, top, width, height = place
    for kind, x, y in (("mousePressed", 0.1, 0.2), ("mouseMoved", 0.4, 0.5), ("mouseReleased", 0.6, 0.7)):
        at = {"x": left + x * width, "y": top + y * height, "button": "left", "buttons": 1, "clickCount": 1}
        window.command("Input.dispatchMouseEvent", {"type": kind, **at})
    window.type("#region-name", "gate")
    window.click("#region-form button[type=submit]")
    assert "gate" in window.until("document.querySelector('#region-preview ins')?.textContent")
    assert "gate" not in served.daemon.config.read_text()
    window.click("#region-save")
    assert receive(subscriber, "region/gate/state")
    window.until("document.querySelectorAll('#boxes rect').length === 2")
    assert "priority: 2" in served.daemon.config.read_text()
    box = served.client.ask("/api/v1/states").json["regions"]["gate"]
    assert all(abs(found - drawn) < 0.02 for found, drawn in zip(box, (0.1, 0.2, 0.5, 0.5), strict=True))
