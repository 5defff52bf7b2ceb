"""The running daemon on a hot board, and in front of a still scene."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import RIGHT, START_S, receive

HEATED = (str(Path(__file__).parent / "heated.py"),)


@pytest.fixture
def thermometer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the temperature, in thousandths of a degree, of the board that the daemon believes in."""
    zone = tmp_path / "board/sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("cpu-thermal\n")
    monkeypatch.setenv("BOARD_ROOT", str(tmp_path / "board"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return zone / "temp"


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(START_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield receiver


def test_a_hot_board_slows_the_daemon_which_says_so_everywhere(
    start: StartDaemon, subscriber: Subscriber, thermometer: Path, manager: socket.socket
) -> None:
    thermometer.write_text("82000\n")
    daemon = start(program=HEATED, source={"fps": 4}, publish={"health_interval_s": 1})
    board = receive(subscriber, "health", lambda health: health["board"]["pace_percent"] < 100)["board"]
    assert board["temperature_c"] == 82
    assert "the board is hot" in daemon.log
    assert "(82 C)" in heard(manager, "slowed to ")
    daemon.edit(thermal={"enabled": False})
    receive(subscriber, "health", lambda health: health["board"]["pace_percent"] == 100)
    assert daemon.running


def test_a_still_scene_is_skipped_from_the_edit_on_that_asks_for_it(
    start: StartDaemon, subscriber: Subscriber, tmp_path: Path
) -> None:
    scene = tmp_path / "scene"
    scene.mkdir()
    shutil.copy(PICTURES_DIR / "cat.jpg", scene)
    daemon = start(source={"fps": 10, "folder": {"path": str(scene)}}, publish={"health_interval_s": 1})
    receive(subscriber, "state")
    assert receive(subscriber, "health")["skipped"] == 0
    daemon.edit(motion={"enabled": True, "max_skip_s": 1})
    saving = receive(subscriber, "health", lambda health: health["skipped_percent"] >= 50)
    assert saving["skipped"] > 0
    assert receive(subscriber, "state")["label"] in RIGHT["cat.jpg"]  # now and then it is looked at


def heard(manager: socket.socket, word: str) -> str:
    """The first message to the service manager with this word in it."""
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        message = manager.recv(4096).decode()
        if word in message:
            return message
    raise AssertionError(f"the service manager did not hear of {word!r}")
