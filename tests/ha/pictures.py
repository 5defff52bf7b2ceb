"""Takes the pictures of the guide: what teaching looks like in Home Assistant.

  python -m tests.ha.pictures ROOT FOLDER

The real Home Assistant of `build-root`'s root, with its own pages, and the real daemon, which looks at a gate
that is rendered. Writes ha-device.png and ha-label.png into the folder.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.teaching.pen import HEIGHT, WIDTH
from benchmarks.teaching.scene import Moment, render
from benchmarks.teaching.scenes import GATE
from edge_agent.system import paths
from edge_agent.tools.builder.build import BuildOptions, build
from tests.daemon.process import Daemon
from tests.ha.conftest import EXAMPLES, RELEASES
from tests.ha.home_assistant import HomeAssistant
from tests.mqtt.brokers import HOST, Mosquitto
from tests.web.browser.browser import Browser, browser

LABEL = "sensor.porch_label_gate"
NEW = "text.porch_this_is_something_new_gate"
_MORE_INFO = """
document.querySelector("home-assistant").dispatchEvent(
    new CustomEvent("hass-more-info", {detail: {entityId: arguments[0]}, bubbles: true, composed: true}))
"""
_SETTLE_S = 3.0  # cards grow and dialogues open


def main(arguments: Sequence[str]) -> int:
    root, folder = (Path(name) for name in arguments)
    with (
        tempfile.TemporaryDirectory(prefix="edge-agent-pictures-") as work,
        Mosquitto(Path(work) / "b") as broker,
    ):
        daemon = Daemon(Path(work) / "agent", _settings(Path(work), broker.port))
        automations = EXAMPLES / "home-assistant-automation.yaml"
        home = HomeAssistant(
            root, RELEASES[-1], "/tmp/edge-agent-pictures", broker.port, automations, pages="/opt/pages"
        )
        try:
            home.start()
            daemon.start()
            with browser() as window:
                _take(home, daemon, window, Path(work), folder)
        finally:
            daemon.terminate()
            home.stop()
    return 0


def _take(home: HomeAssistant, daemon: Daemon, window: Browser, work: Path, folder: Path) -> None:
    """Follow the guide: teach `closed`, open the gate, teach `open`."""
    home.wait(
        lambda: home.state(LABEL) in ("tabby", "unknown"), 60
    )  # a frame can be taught once there is one
    home.wait(lambda: NEW in home.states(), 60)
    home.call("text.set_value", entity_id=NEW, value="closed")
    home.wait(lambda: home.state(LABEL) == "closed", 60)
    daemon.edit(source=_sees(work, "open"))
    time.sleep(_SETTLE_S)  # the gate is seen open, whatever is said of it
    home.call("text.set_value", entity_id=NEW, value="open")
    home.wait(lambda: home.state(LABEL) == "open", 60)
    device = home.template(f"{{{{ device_id('{LABEL}') }}}}")
    url = f"http://{HOST}:{home.port}"
    window.resize(1000, 640)
    window.open(f"{url}/robots.txt")
    window.run("localStorage.setItem('hassTokens', arguments[0])", home.tokens())
    window.open(f"{url}/config/devices/device/{device}")
    window.until("document.querySelector('home-assistant')?.shadowRoot?.querySelector('home-assistant-main')")
    _keep(window, folder / "ha-device.png")
    window.resize(560, 240)
    window.run(_MORE_INFO, LABEL)
    _keep(window, folder / "ha-label.png")


def _keep(window: Browser, path: Path) -> None:
    """In few colours: a document's pictures are fetched with every checkout."""
    time.sleep(_SETTLE_S)
    window.screenshot(path)
    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def _settings(work: Path, port: int) -> dict[str, Any]:
    model = paths.demo_model_dir(os.environ)
    if not (model / "model.json").is_file():
        model = build(
            BuildOptions(arch="efficientnet_lite0", output=work / "model"), lambda _line: None
        ).directory
    for state in GATE.labels:
        (work / state).mkdir()
        for hour in (11.0, 12.0, 13.0):
            Image.fromarray(render(GATE, Moment(state, 3, hour))).save(work / state / f"{hour:.0f}.png")
    left, top, right, bottom = GATE.region
    return {
        "device_id": "porch",
        "source": _sees(work, "closed"),
        "model": {"path": str(model)},
        "memory": {"budget_mb": 512},
        "labels": {"allow": ["tabby"]},  # until something is taught, nothing is said of the gate
        "mqtt": {"host": HOST, "port": port, "reconnect_min_s": 0.1},
        "homeassistant": {"enabled": True},
        "control": {"enabled": True},
        "regions": {
            "gate": {
                "box": [left / WIDTH, top / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT],
            }
        },
    }


def _sees(work: Path, state: str) -> dict[str, Any]:
    return {"type": "folder", "fps": 2, "folder": {"path": str(work / state), "loop": True}}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
