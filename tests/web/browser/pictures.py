"""Makes the pictures of the page in its document.

  python -m tests.web.browser.pictures WIDE.png PHONE.png

The real daemon looks at the bundled pictures, with the demo's model, and Chromium at its page.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from edge_agent.system import paths
from edge_agent.tools.builder.build import BuildOptions, build
from edge_agent.tools.demo.bundled import PICTURES_DIR
from tests.daemon.process import Daemon
from tests.mqtt.brokers import Mosquitto
from tests.web.browser.browser import Browser, browser
from tests.web.helpers import HOST, Client, free_port

_FRAME_S = 4.0


def main(arguments: Sequence[str]) -> int:
    wide, phone = (Path(name) for name in arguments)
    with (
        tempfile.TemporaryDirectory(prefix="edge-agent-page-") as directory,
        browser() as window,
        _serving(Path(directory)) as url,
    ):
        _show(window, url, 1100, 880)
        _keep(window, wide)
        _show(window, url, 390, 780)
        _keep(window, phone)
    return 0


def _show(window: Browser, url: str, width: int, height: int) -> None:
    window.resize(width, height)
    window.open(url)
    window.until("document.getElementById('status').textContent === 'live'")
    window.until("document.querySelectorAll('#events img').length > 2")
    window.until("document.querySelectorAll('#charts svg').length > 2")


def _keep(window: Browser, path: Path) -> None:
    """In few colours: a document's pictures are fetched with every checkout."""
    window.screenshot(path)
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


@contextmanager
def _serving(directory: Path) -> Iterator[str]:
    model = paths.demo_model_dir(os.environ)
    if not (model / "model.json").is_file():
        model = directory / "model"
        build(BuildOptions(arch="efficientnet_lite0", output=model), lambda _line: None)
    port = free_port()
    with Mosquitto(directory / "broker") as broker:
        settings = {
            "device_id": "porch",
            "source": {
                "type": "folder",
                "fps": 1 / _FRAME_S,
                "folder": {"path": str(PICTURES_DIR), "loop": True},
            },
            "model": {"path": str(model)},
            "stabilizer": {"window": 1, "votes": 1},
            "publish": {"event_image": True, "health_interval_s": 2},
            "mqtt": {"host": HOST, "port": broker.port},
            "web": {"enabled": True, "listen": f"{HOST}:{port}"},
        }
        daemon = Daemon(directory / "agent", settings)
        daemon.start()
        try:
            _wait(Client(port))
            yield f"http://{HOST}:{port}/"
        finally:
            daemon.terminate()


def _wait(client: Client) -> None:
    for _ in range(600):
        try:
            if client.ask("/healthz").status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
