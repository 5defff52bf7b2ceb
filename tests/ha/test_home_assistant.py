"""What Home Assistant makes of the device: two releases, the shipped automations, the real daemon."""

from __future__ import annotations

import dataclasses
import io
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge_agent.cli import main
from edge_agent.config.schema import Config, HomeAssistantConfig, PublishConfig
from edge_agent.errors import EXIT_OK, EXIT_RESTART
from edge_agent.model.sidecar import Artifact
from edge_agent.mqtt.link import BrokerLink
from edge_agent.system.clock import SystemClock
from edge_agent.system.wake import Wake
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES, PICTURES_DIR
from tests.daemon.process import Daemon
from tests.ha.home_assistant import HomeAssistant
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, Mosquitto
from tests.mqtt.helpers import FakeAgent, MemoryEvents, wait_connected
from tests.mqtt.samples import broker_config, changed

ALLOWED = sorted({label for picture in BUNDLED_PICTURES for label in picture.labels})
CAT = "A cat instead of dog, 50 % sure."
LABEL, SCORE, EVENT = "sensor.porch_label", "sensor.porch_score", "event.porch_label_changed"


@contextmanager
def device(broker: Mosquitto) -> Iterator[BrokerLink]:
    """The product's own link for the device `porch`, which says what the test has it say."""
    config = Config(
        device_id="porch",
        mqtt=broker_config(broker.port),
        homeassistant=HomeAssistantConfig(enabled=True),
        publish=PublishConfig(event_image=True),
    )
    link = BrokerLink(config, events=MemoryEvents(), clock=SystemClock(), wake=Wake().ring, environment={})
    link.publish_info(samples.info())
    link.publish_state(samples.state(1, "dog"))
    link.publish_health(samples.health())
    link.start(FakeAgent())
    try:
        wait_connected(link)
        yield link
    finally:
        link.stop()


def camera(link: BrokerLink, state: Any) -> None:
    """Publish that the camera is in this state."""
    health = samples.health()
    link.publish_health(dataclasses.replace(health, camera=dataclasses.replace(health.camera, state=state)))


def cats(home_assistant: HomeAssistant) -> int:
    return home_assistant.notes.count(CAT)


def sees(home_assistant: HomeAssistant, entity: str, state: str) -> Callable[[], bool]:
    return lambda: home_assistant.state(entity) == state


def last_seq(home_assistant: HomeAssistant) -> int:
    return int(home_assistant.states()[EVENT]["attributes"].get("seq", 0))


def test_a_burst_of_forty_events_fires_for_each_of_the_twenty_cats(
    home_assistant: HomeAssistant, broker: Mosquitto
) -> None:
    with device(broker) as link:
        home_assistant.wait(sees(home_assistant, LABEL, "dog"))
        home_assistant.wait(sees(home_assistant, EVENT, "unknown"))
        for seq in range(100, 140):
            labels = ("dog", "cat") if seq % 2 else ("cat", "dog")
            link.publish_event(changed(seq, *labels))
        home_assistant.wait(lambda: last_seq(home_assistant) == 139)
        home_assistant.wait(lambda: cats(home_assistant) == 20)
        dogs = [note for note in home_assistant.notes if note.startswith("A dog, seen at")]
        assert (cats(home_assistant), len(dogs)) == (20, 20)


def test_a_device_or_home_assistant_that_comes_back_fires_nothing_again(
    home_assistant: HomeAssistant, broker: Mosquitto
) -> None:
    before = cats(home_assistant)
    with device(broker) as link:
        home_assistant.wait(sees(home_assistant, LABEL, "dog"))
        link.publish_event(changed(201, "dog", "cat"))
        home_assistant.wait(lambda: cats(home_assistant) == before + 1)
    home_assistant.wait(sees(home_assistant, EVENT, "unavailable"))
    with device(broker) as link:
        home_assistant.wait(lambda: home_assistant.state(EVENT) != "unavailable")
        home_assistant.stop()
        home_assistant.start()
        home_assistant.wait(lambda: last_seq(home_assistant) == 201)
        link.publish_event(changed(202, "dog", "cat"))
        home_assistant.wait(lambda: last_seq(home_assistant) == 202)
        home_assistant.wait(lambda: cats(home_assistant) == before + 2)
    assert cats(home_assistant) == before + 2


def test_an_answer_is_unavailable_while_the_camera_does_not_run(
    home_assistant: HomeAssistant, broker: Mosquitto
) -> None:
    with device(broker) as link:
        for state in ("reopening", "paused", "ended"):
            home_assistant.wait(sees(home_assistant, LABEL, "dog"))
            assert home_assistant.state(SCORE) == "61"
            camera(link, state)
            home_assistant.wait(sees(home_assistant, LABEL, "unavailable"))
            home_assistant.wait(sees(home_assistant, SCORE, "unavailable"))
            assert home_assistant.state(EVENT) != "unavailable"
            expected = "on" if state == "reopening" else "off"
            home_assistant.wait(sees(home_assistant, "binary_sensor.porch_camera", expected))
            camera(link, "running")
    home_assistant.wait(sees(home_assistant, "binary_sensor.porch_camera", "unavailable"))


def test_a_rate_that_is_not_measured_yet_is_unknown(home_assistant: HomeAssistant, broker: Mosquitto) -> None:
    with device(broker) as link:
        home_assistant.wait(sees(home_assistant, "sensor.porch_frame_rate", "1.99"))
        link.publish_health(dataclasses.replace(samples.health(), fps=None))
        home_assistant.wait(sees(home_assistant, "sensor.porch_frame_rate", "unknown"))


@pytest.fixture
def daemon(
    lite0: Artifact, broker: Mosquitto, tmp_path: Path, home_assistant: HomeAssistant
) -> Iterator[Daemon]:
    """The real daemon on the bundled pictures, as the device `yard`."""
    settings = {
        "device_id": "yard",
        "source": {"type": "folder", "fps": 2, "folder": {"path": str(PICTURES_DIR), "loop": True}},
        "model": {"path": str(lite0.directory)},
        "memory": {"budget_mb": 512},
        "labels": {"allow": ALLOWED},
        "stabilizer": {"window": 1, "votes": 1, "threshold": 0.05, "hysteresis": 0},
        "publish": {"health_interval_s": 1, "event_image": True},
        "mqtt": {"host": HOST, "port": broker.port, "reconnect_min_s": 0.1},
        "homeassistant": {"enabled": True},
        "control": {"enabled": True},
    }
    daemon = Daemon(tmp_path / "daemon", settings)
    daemon.start()
    try:
        home_assistant.wait(lambda: home_assistant.state("sensor.yard_label") in ALLOWED, 60)
        yield daemon
    finally:
        daemon.kill()
        main(["ha", "remove", "--config", str(daemon.config)])


def test_the_daemons_entities_appear_and_follow(home_assistant: HomeAssistant, daemon: Daemon) -> None:
    assert daemon.running
    label = home_assistant.states()["sensor.yard_label"]
    assert set(label["attributes"]["options"]) == {*ALLOWED, "unknown"}
    assert label["attributes"]["device_class"] == "enum"
    seen: set[str] = set()

    def three_have_come() -> bool:
        seen.add(home_assistant.state("sensor.yard_label"))
        return len(seen & set(ALLOWED)) >= 3

    home_assistant.wait(three_have_come, 60)
    states = home_assistant.states()
    assert 0 < int(states["sensor.yard_score"]["state"]) <= 100
    assert float(states["sensor.yard_memory"]["state"]) > 10
    assert states["binary_sensor.yard_camera"]["state"] == "off"
    rate = "sensor.yard_frame_rate"
    home_assistant.wait(lambda: home_assistant.state(rate) not in ("unknown", "unavailable"))
    assert float(home_assistant.state(rate)) == pytest.approx(2, abs=0.5)


def test_the_picture_of_the_change_belongs_to_an_event(home_assistant: HomeAssistant, daemon: Daemon) -> None:
    assert daemon.running
    entity = "image.yard_picture_of_the_change"

    def picture() -> dict[str, Any]:
        attributes: dict[str, Any] = home_assistant.states()[entity]["attributes"]
        return attributes

    home_assistant.wait(lambda: "seq" in picture())
    with Image.open(io.BytesIO(home_assistant.raw(picture()["entity_picture"]))) as shown:
        assert shown.format == "JPEG"
        assert b'"seq":' in shown.info["comment"]


def test_its_controls_act_on_the_daemon(home_assistant: HomeAssistant, daemon: Daemon) -> None:
    home_assistant.wait(sees(home_assistant, "number.yard_threshold", "0.05"))
    home_assistant.wait(sees(home_assistant, "number.yard_rate", "2.0"))
    home_assistant.call("number.set_value", entity_id="number.yard_threshold", value=0.25)
    home_assistant.wait(sees(home_assistant, "number.yard_threshold", "0.25"))
    home_assistant.call("number.set_value", entity_id="number.yard_rate", value=4.5)
    home_assistant.wait(sees(home_assistant, "number.yard_rate", "4.5"))
    assert daemon.config.read_text().count("4.5") == 0

    assert home_assistant.state("image.yard_picture") == "unknown"
    home_assistant.call("button.press", entity_id="button.yard_snapshot")
    home_assistant.wait(lambda: home_assistant.state("image.yard_picture") not in ("unknown", "unavailable"))

    home_assistant.call("button.press", entity_id="button.yard_reload")
    home_assistant.wait(sees(home_assistant, "number.yard_rate", "2.0"))
    home_assistant.wait(sees(home_assistant, "number.yard_threshold", "0.05"))

    home_assistant.call("switch.turn_on", entity_id="switch.yard_pause")
    home_assistant.wait(sees(home_assistant, "switch.yard_pause", "on"))
    home_assistant.wait(sees(home_assistant, "sensor.yard_label", "unavailable"))
    home_assistant.call("switch.turn_off", entity_id="switch.yard_pause")
    home_assistant.wait(lambda: home_assistant.state("sensor.yard_label") in ALLOWED)

    home_assistant.call("button.press", entity_id="button.yard_restart")
    assert daemon.wait() == EXIT_RESTART


def scene(daemon: Daemon, picture: str) -> dict[str, Any]:
    """The settings of a camera that sees one picture, again and again."""
    folder = daemon.directory / picture
    folder.mkdir(exist_ok=True)
    (folder / picture).write_bytes((PICTURES_DIR / picture).read_bytes())
    return {"folder": {"path": str(folder)}}


def of_regions(home_assistant: HomeAssistant, platform: str, name: str) -> dict[str, str]:
    """The states of the entities of that name, by the region that each is of; empty for the whole picture."""
    begin = f"{platform}.yard_{name}"
    return {
        entity.removeprefix(begin).removeprefix("_"): str(state["state"])
        for entity, state in home_assistant.states().items()
        if entity.startswith(begin)
    }


def test_regions_appear_change_and_go_while_the_agent_runs(
    home_assistant: HomeAssistant, daemon: Daemon
) -> None:
    def labels() -> dict[str, str]:
        return of_regions(home_assistant, "sensor", "label")

    def are(*regions: str) -> Callable[[], bool]:
        return lambda: labels().keys() == set(regions) and set(labels().values()) <= {*ALLOWED, "unknown"}

    home_assistant.wait(are(""))
    daemon.edit(regions={"left": {"box": [0, 0, 0.5, 1]}, "right": {"box": [0.5, 0, 0.5, 1]}})
    home_assistant.wait(are("left", "right"))
    home_assistant.wait(lambda: of_regions(home_assistant, "sensor", "score").keys() == {"left", "right"})
    whole = daemon.settings.copy()
    whole["regions"] = {"left": {"box": [0, 0, 1, 1]}, "door": {"box": [0.2, 0.2, 0.6, 0.6]}}
    daemon.write(whole)
    home_assistant.wait(are("left", "door"))
    changed = "event.yard_label_changed_left"
    home_assistant.wait(lambda: "seq" in home_assistant.states()[changed]["attributes"])
    del whole["regions"]
    daemon.write(whole)
    home_assistant.wait(are(""))
    for named in (("sensor", "score"), ("event", "label_changed"), ("image", "picture_of_the_change")):
        assert of_regions(home_assistant, *named).keys() == {""}
    assert daemon.running


def test_two_states_are_taught_by_its_entities_and_the_label_follows(
    home_assistant: HomeAssistant, daemon: Daemon
) -> None:
    label, known = "sensor.yard_label_gate", "select.yard_this_is_gate"
    new, undo = "text.yard_this_is_something_new_gate", "button.yard_undo_the_last_lesson_gate"

    def options() -> list[str]:
        return list(home_assistant.states().get(known, {"attributes": {}})["attributes"].get("options", []))

    daemon.edit(
        regions={"gate": {"box": [0.1, 0.1, 0.8, 0.8]}},
        labels={"allow": []},
        source=scene(daemon, "cat.jpg"),
        stabilizer={"threshold": 0.3},
    )
    home_assistant.wait(lambda: home_assistant.state(label) not in ("", "unavailable"))
    home_assistant.wait(lambda: home_assistant.state(new) not in ("", "unavailable"))
    assert options() == []

    home_assistant.call("text.set_value", entity_id=new, value="closed")
    home_assistant.wait(sees(home_assistant, label, "closed"))
    daemon.edit(source=scene(daemon, "dog.jpg"))
    home_assistant.wait(lambda: home_assistant.state(label) != "closed")
    home_assistant.call("text.set_value", entity_id=new, value="open")
    home_assistant.wait(sees(home_assistant, label, "open"))
    daemon.edit(source=scene(daemon, "cat.jpg"))
    home_assistant.wait(sees(home_assistant, label, "closed"))
    assert home_assistant.states()["event.yard_label_changed_gate"]["attributes"]["to"] == "closed"

    home_assistant.wait(lambda: options() == ["closed", "open"])
    daemon.edit(source=scene(daemon, "tripod.jpg"))
    time.sleep(3)  # pictures of the other folder may still be on their way
    home_assistant.call("select.select_option", entity_id=known, option="open")
    home_assistant.wait(sees(home_assistant, label, "open"))
    for _ in ("the tripod", "the dog"):
        home_assistant.call("button.press", entity_id=undo)
    home_assistant.wait(lambda: options() == ["closed"])
    home_assistant.wait(lambda: home_assistant.state(label) in ("closed", "unknown"))


def test_a_restart_of_the_agent_is_no_event(home_assistant: HomeAssistant, daemon: Daemon) -> None:
    """A still scene: one picture, again and again."""
    folder = daemon.directory / "scene"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes((PICTURES_DIR / "cat.jpg").read_bytes())
    daemon.edit(source={"folder": {"path": str(folder)}}, stabilizer={"window": 3, "votes": 2})
    still = "event.yard_label_changed"
    cat = next(picture.labels for picture in BUNDLED_PICTURES if picture.name == "cat.jpg")
    home_assistant.wait(lambda: home_assistant.states()[still]["attributes"].get("to") in cat)
    time.sleep(3)  # pictures of the other folder may still have been on their way
    before = home_assistant.states()[still]["attributes"]["seq"]
    for number in (signal.SIGTERM, signal.SIGKILL):
        daemon.send(number)
        daemon.wait()
        home_assistant.wait(sees(home_assistant, "sensor.yard_label", "unavailable"))
        daemon.start()
        home_assistant.wait(lambda: home_assistant.state("sensor.yard_label") in cat, 60)
        assert home_assistant.states()[still]["attributes"]["seq"] == before


def test_a_removed_device_is_gone(home_assistant: HomeAssistant, daemon: Daemon) -> None:
    assert daemon.terminate()[0] == EXIT_OK
    assert main(["ha", "remove", "--config", str(daemon.config)]) == EXIT_OK
    home_assistant.wait(lambda: not any(".yard_" in entity for entity in home_assistant.states()))


def test_home_assistant_has_found_nothing_to_complain_about(home_assistant: HomeAssistant) -> None:
    """No warning or error of its MQTT integration, in all that went before."""
    complaints = [line for line in home_assistant.log.splitlines() if "components.mqtt" in line]
    # It publishes an empty message for each entity that is removed, and is surprised by it.
    complaints = [line for line in complaints if "No device components to cleanup for yard" not in line]
    assert complaints == []
