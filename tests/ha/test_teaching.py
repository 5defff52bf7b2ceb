"""The five minutes of the guide in the real Home Assistant: labels are taught, corrected and undone there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import main
from edge_agent.model.sidecar import Artifact
from edge_agent.tools.demo.bundled import PICTURES_DIR
from tests.daemon.process import Daemon
from tests.ha.home_assistant import HomeAssistant
from tests.mqtt.brokers import HOST, Mosquitto

LABEL, EVENT = "sensor.drive_label_gate", "event.drive_label_changed_gate"
NEW, KNOWN, UNDO = (
    "text.drive_this_is_something_new_gate",
    "select.drive_this_is_gate",
    "button.drive_undo_the_last_lesson_gate",
)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """What the camera sees: a folder with one picture for each state."""
    folders = {"closed": tmp_path / "closed", "open": tmp_path / "open"}
    for folder, name in zip(folders.values(), ("cat.jpg", "balloon.jpg"), strict=True):
        folder.mkdir()
        shutil.copy(PICTURES_DIR / name, folder)
    return folders


@pytest.fixture
def daemon(lite0: Artifact, broker: Mosquitto, tmp_path: Path, folders: dict[str, Path]) -> Iterator[Daemon]:
    """The real daemon with a region, and with labels that Home Assistant takes for all that there are."""
    settings = {
        "device_id": "drive",
        "source": sees(folders["closed"]),
        "model": {"path": str(lite0.directory)},
        "memory": {"budget_mb": 512},
        "labels": {"allow": ["tabby"]},
        "mqtt": {"host": HOST, "port": broker.port, "reconnect_min_s": 0.1},
        "homeassistant": {"enabled": True},
        "control": {"enabled": True},
        "regions": {"gate": {"box": [0.1, 0.1, 0.8, 0.8]}},
    }
    daemon = Daemon(tmp_path / "daemon", settings)
    daemon.start()
    yield daemon
    daemon.kill()
    main(["ha", "remove", "--config", str(daemon.config)])


def sees(folder: Path) -> dict[str, Any]:
    return {"type": "folder", "fps": 4, "folder": {"path": str(folder), "loop": True}}


def test_two_states_are_taught_corrected_and_undone(
    home_assistant: HomeAssistant, daemon: Daemon, folders: dict[str, Path]
) -> None:
    def shows(label: str) -> None:
        home_assistant.wait(lambda: home_assistant.state(LABEL) == label, 60)

    def choices() -> Any:
        return home_assistant.states().get(KNOWN, {}).get("attributes", {}).get("options")

    home_assistant.wait(lambda: home_assistant.state(LABEL) in ("tabby", "unknown"), 60)
    home_assistant.wait(lambda: NEW in home_assistant.states())
    assert choices() is None
    home_assistant.call("text.set_value", entity_id=NEW, value="closed")
    shows("closed")
    daemon.edit(source=sees(folders["open"]))
    shows("unknown")
    home_assistant.call("text.set_value", entity_id=NEW, value="open")
    shows("open")
    home_assistant.wait(lambda: home_assistant.states()[EVENT]["attributes"].get("to") == "open")
    home_assistant.wait(lambda: choices() == ["closed", "open"])
    home_assistant.call("select.select_option", entity_id=KNOWN, option="closed")
    shows("closed")
    home_assistant.call("button.press", entity_id=UNDO)
    shows("open")
    daemon.edit(source=sees(folders["closed"]))
    shows("closed")


def test_home_assistant_has_found_nothing_to_complain_about(home_assistant: HomeAssistant) -> None:
    complaints = [line for line in home_assistant.log.splitlines() if "components.mqtt" in line]
    complaints = [line for line in complaints if "No device components to cleanup for drive" not in line]
    assert complaints == []
