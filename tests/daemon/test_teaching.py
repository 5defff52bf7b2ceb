"""Teaching the real daemon by requests and by files: its labels follow, and nothing taught is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge_agent.errors import EXIT_RESTART
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import Ask, StartDaemon
from tests.daemon.helpers import START_S, of, receive
from tests.daemon.process import Daemon
from tests.mqtt.brokers import HOST, Mosquitto, collect

PICTURES = {picture.name: picture.path for picture in BUNDLED_PICTURES}


@pytest.fixture
def scenes(tmp_path: Path) -> dict[str, Path]:
    """Folders with one picture each: what the camera sees."""
    folders = {name: tmp_path / "scenes" / name for name in ("cat", "dog")}
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        shutil.copy(PICTURES[f"{name}.jpg"], folder)
    return folders


def sees(folder: Path) -> dict[str, Any]:
    return {"type": "folder", "fps": 10, "folder": {"path": str(folder), "loop": True}}


@pytest.fixture
def changes(scenes: dict[str, Path]) -> dict[str, Any]:
    return {
        "control": {"enabled": True},
        "source": sees(scenes["cat"]),
        "stabilizer": {"window": 1, "votes": 1, "threshold": 0.3},
    }


@pytest.fixture
def daemon(start: StartDaemon, changes: dict[str, Any], subscriber: Subscriber) -> Daemon:
    running = start(**changes)
    receive(subscriber, "state")
    return running


def test_two_states_are_taught_by_requests_and_the_labels_follow_at_once(
    ask: Ask, daemon: Daemon, subscriber: Subscriber, scenes: dict[str, Path]
) -> None:
    assert "head" not in receive(subscriber, "state")
    taught = ask("teach/add", transaction=1, label="in")["data"]
    assert (taught["labels"], len(taught["added"]), taught["problem"]) == ({"in": 1}, 1, "")
    assert receive(subscriber, "event", lambda event: event["to"] == "in")
    assert receive(subscriber, "state", lambda state: state["label"] == "in")["head"]["labels"] == 1
    daemon.edit(source=sees(scenes["dog"]))
    receive(subscriber, "state", lambda state: state["label"] != "in")
    ask("teach/add", transaction=2, label="out")
    assert receive(subscriber, "event", lambda event: event["to"] == "out")
    daemon.edit(source=sees(scenes["cat"]))
    receive(subscriber, "event", lambda event: (event["from"], event["to"]) == ("out", "in"))
    ask("reload", transaction=3, await_answer=False)
    (head,) = receive(subscriber, "info", lambda info: info.get("heads"))["heads"]
    assert (head["region"], head["labels"], head["method"]) == ("", {"in": 1, "out": 1}, "means")
    assert "1 example of `in`: show 5 or more" in head["missing"]
    report = ask("teach/report", transaction=4)["data"]
    assert (report["examples"], report["judged"], report["accuracy"]) == (2, 0, None)


def test_what_was_taught_survives_a_kill_and_a_lesson_can_be_undone(
    ask: Ask, daemon: Daemon, subscriber: Subscriber
) -> None:
    ask("teach/add", transaction=1, label="in")
    receive(subscriber, "state", lambda state: state["label"] == "in")
    daemon.send(signal.SIGKILL)
    daemon.wait()
    daemon.start()
    receive(subscriber, "availability", lambda text: text == "online")
    assert receive(subscriber, "state")["label"] == "in"
    undone = ask("teach/undo", transaction=2)["data"]
    assert (undone["labels"], len(undone["gone"])) == ({}, 1)
    assert "head" not in receive(subscriber, "state", lambda state: state["label"] != "in")
    assert ask("teach/undo", transaction=3)["error"]["message"].startswith("there is no lesson")


def test_a_lesson_that_cannot_be_taken_is_answered_with_the_reason(ask: Ask, daemon: Daemon) -> None:
    def refusal(verb: str, **asked: Any) -> str:
        answer = ask(verb, transaction="x", **asked)
        assert answer["status"] == "error"
        return str(answer["error"]["message"])

    assert 'name what the frame shows: {"label": "open"}' in refusal("teach/add")
    assert "cannot be taught: it is the answer for what was never shown" in refusal(
        "teach/add", label="unknown"
    )
    assert "there is no region 'gate'; it watches the whole picture" in refusal(
        "teach/add", label="open", region="gate"
    )
    assert "there is no question 7" in refusal("teach/add", label="open", question=7)
    assert "name either a label or an example" in refusal("teach/remove")
    daemon.edit(teach={"enabled": False})
    ask("reload", transaction="r")
    assert "teach.enabled is false" in refusal("teach/add", label="open")


def test_regions_learn_each_for_themselves(
    ask: Ask, start: StartDaemon, changes: dict[str, Any], subscriber: Subscriber
) -> None:
    boxes = {"left": {"box": [0, 0, 0.5, 1]}, "right": {"box": [0.5, 0, 0.5, 1]}}
    daemon = start(**changes, regions=boxes)
    receive(subscriber, "region/left/state")
    ask("teach/add", transaction=1, region="left", label="half a cat")
    assert receive(subscriber, "region/left/event", lambda event: event["to"] == "half a cat")
    assert "head" not in receive(subscriber, "region/right/state")
    assert (daemon.state_dir / "teach/left/head").exists()
    assert not (daemon.state_dir / "teach/right").exists()


def teach_by_command(daemon: Daemon, *words: str | Path) -> str:
    command = [sys.executable, "-m", "edge_agent", "teach", *words, "--config", daemon.config]
    environment = os.environ | {"STATE_DIRECTORY": str(daemon.state_dir)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "the running agent takes it within seconds" in said
    return said


def by_light(folder: Path, name: str, light: float) -> list[Path]:
    """A picture in three sizes, as bright as `light` makes it."""
    folder.mkdir(parents=True)
    files = [folder / f"{number}.png" for number in range(3)]
    with Image.open(PICTURES[f"{name}.jpg"]) as picture:
        for number, file in enumerate(files):
            width, height = picture.size
            part = picture.crop((30 * number, 20 * number, width, height))
            part.point([int(level * light) for level in range(256)] * 3).save(file)
    return files


def test_a_period_has_a_head_of_its_own_once_it_was_taught_then(
    daemon: Daemon, subscriber: Subscriber, tmp_path: Path
) -> None:
    for label, name in (("in", "cat"), ("out", "dog")):
        for light in (1.0, 0.1):
            teach_by_command(
                daemon, "add", "--label", label, *by_light(tmp_path / f"{name}{light}", name, light)
            )
    (head,) = receive(subscriber, "info", lambda info: sum_of(info) == 12)["heads"]
    assert "periods" not in head
    daemon.edit(periods={"night": {"light": "night"}}, source=sees(tmp_path / "cat0.1"))
    (head,) = receive(subscriber, "info", lambda info: "periods" in info["heads"][0])["heads"]
    assert head["periods"] == ["night"]
    assert not any("period" in missing for missing in head["missing"])
    state = receive(subscriber, "state", lambda state: state.get("head", {}).get("period") == "night")
    assert state["top"][0]["label"] == "in"
    daemon.edit(source=sees(tmp_path / "cat1.0"))
    receive(subscriber, "state", lambda state: "head" in state and "period" not in state["head"])
    daemon.edit(
        periods={"never": {"light": "night", "hours": ["00:00-00:01"]}}, source=sees(tmp_path / "cat0.1")
    )
    receive(
        subscriber, "info", lambda info: any("period never" in each for each in info["heads"][0]["missing"])
    )
    daemon.edit(periods=None)
    receive(subscriber, "info", lambda info: "period" not in str(info["heads"][0]["missing"]))


def sum_of(info: dict[str, Any]) -> int:
    return sum(sum(head["labels"].values()) for head in info.get("heads", ()))


def test_what_the_command_teaches_is_taken_up_while_the_agent_runs(
    ask: Ask, daemon: Daemon, subscriber: Subscriber
) -> None:
    teach = partial(teach_by_command, daemon)
    teach("add", "--label", "in", PICTURES["cat.jpg"])
    assert receive(subscriber, "event", lambda event: event["to"] == "in")
    teach("add", "--label", "something else", PICTURES["cat.jpg"])
    receive(subscriber, "event", lambda event: event["to"] == "something else")
    teach("revert")
    receive(subscriber, "event", lambda event: event["to"] == "in")
    assert "brought back 1 example of in" in teach("undo")
    assert ask("teach/add", transaction=1, label="in")["data"]["duplicates"] == 1
    teach("undo")
    assert "head" not in receive(subscriber, "state", lambda state: state["label"] != "in")


def test_home_assistant_is_told_what_can_be_taught(
    ask: Ask, start: StartDaemon, changes: dict[str, Any], subscriber: Subscriber, broker: Mosquitto
) -> None:
    start(**changes, homeassistant={"enabled": True})
    receive(subscriber, "state")
    topic = "homeassistant/device/porch/config"

    def options(payload: bytes) -> Any:
        return json.loads(payload)["components"]["teach"].get("options")

    with Subscriber(HOST, broker.port, topic) as discovery:
        assert collect(discovery, lambda message: options(message.payload) is None)
        ask("teach/add", transaction=1, label="in")
        assert collect(discovery, lambda message: options(message.payload) == ["in"])


def test_labels_thresholds_and_the_schedule_are_edited_live(daemon: Daemon, subscriber: Subscriber) -> None:
    first = receive(subscriber, "state", lambda state: not state["unknown"])
    daemon.edit(labels={"deny": [first["label"]]})
    second = receive(subscriber, "state", lambda state: state["label"] != first["label"])
    assert first["label"] not in [each["label"] for each in second["top"]]
    daemon.edit(labels={"deny": [], "thresholds": {first["label"]: 1.0}})
    receive(
        subscriber, "state", lambda state: state["unknown"] and state["top"][0]["label"] == first["label"]
    )
    daemon.edit(labels={"thresholds": None}, schedule={"light": "night", "night_below": 1})
    receive(subscriber, "health", lambda health: health.get("schedule") == "closed")
    receive(subscriber, "health")  # what was on its way has come
    quiet = collect(subscriber, of("health"), START_S)
    assert not [message for message in quiet if message.topic.endswith("/state")]
    daemon.edit(schedule={"light": "day"})
    assert receive(subscriber, "state")["label"] == first["label"]
    receive(subscriber, "health", lambda health: health.get("schedule") == "open")


def test_another_model_learns_again_from_the_pictures_of_the_examples(
    ask: Ask, daemon: Daemon, subscriber: Subscriber, tmp_path: Path
) -> None:
    ask("teach/add", transaction=1, label="in")
    receive(subscriber, "state", lambda state: state["label"] == "in")
    daemon.edit(model={"path": str(another_model(tmp_path / "another"))})
    assert daemon.wait() == EXIT_RESTART
    daemon.start()
    told = receive(
        subscriber,
        "state",
        lambda state: state["model"]["name"] == "mobilenet_v3_small" and state["label"] == "in",
    )
    assert told["head"]["labels"] == 1
    assert "it was taught on another model" in daemon.log
    assert "learnt again examples=1 without_picture=0" in daemon.log


def another_model(directory: Path) -> Path:
    """A network with weights of nobody's."""
    torch = pytest.importorskip("torch")
    from edge_agent.tools.builder.build import BuildOptions, build
    from tests.tools.builder.networks import network

    directory.mkdir()
    torch.save(network("mobilenet_v3_small", classes=3).state_dict(), directory / "weights.pth")
    (directory / "labels.txt").write_text("cat\ndog\nmug\n")
    options = BuildOptions(
        directory / "model", "mobilenet_v3_small", directory / "weights.pth", directory / "labels.txt"
    )
    return build(options, lambda _line: None).directory
