"""The daemon as its users meet it: a process, a configuration file, and what a subscriber receives."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path

import jsonschema
import pytest

from edge_agent.errors import EXIT_FAILURE, EXIT_OK, EXIT_RESTART, EXIT_USAGE
from edge_agent.model.sidecar import Artifact
from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import DEVICE, NAMES, PROMPT_S, RIGHT, START_S, of, payloads, receive
from tests.daemon.process import Daemon
from tests.mqtt.brokers import Mosquitto, collect, wait_until

SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"


def test_each_picture_of_a_folder_becomes_one_valid_state(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start(source={"folder": {"loop": False}})
    messages = collect(subscriber, of("availability", lambda text: text == "offline"), START_S)
    assert daemon.wait() == EXIT_OK
    states = payloads(messages, "state")
    assert [state["frame"]["id"] for state in states] == list(range(1, len(NAMES) + 1))
    assert all(state["label"] in RIGHT[name] for name, state in zip(NAMES, states, strict=True))
    for topic in ("state", "event", "health", "info"):
        schema = json.loads((SCHEMAS / f"{topic}.schema.json").read_text())
        published = payloads(messages, topic)
        assert published
        for payload in published:
            jsonschema.validate(payload, schema)


def test_events_and_states_share_one_growing_sequence(start: StartDaemon, subscriber: Subscriber) -> None:
    start(source={"folder": {"loop": False}})
    messages = collect(subscriber, of("availability", lambda text: text == "offline"), START_S)
    events, states = payloads(messages, "event"), payloads(messages, "state")
    numbers = [payload["seq"] for payload in events + states]
    assert len(set(numbers)) == len(numbers)
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    # The bundled pictures all show something else, so every frame changes the label.
    assert [event["to"] for event in events] == [state["label"] for state in states]


def test_it_ends_after_the_frames_asked_for(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start("--max-frames", "4")
    messages = collect(subscriber, of("availability", lambda text: text == "offline"), START_S)
    assert daemon.wait() == EXIT_OK
    assert len(payloads(messages, "state")) == 4


def test_sigterm_publishes_offline_and_ends_with_0(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start()
    receive(subscriber, "state")
    code, seconds = daemon.terminate()
    assert code == EXIT_OK
    assert seconds < PROMPT_S
    assert receive(subscriber, "availability") == "offline"
    assert "Traceback" not in daemon.log


def test_sigterm_ends_it_also_where_no_broker_answers(
    start: StartDaemon, broker: Mosquitto, subscriber: Subscriber
) -> None:
    daemon = start()
    receive(subscriber, "state")
    broker.send(signal.SIGSTOP)
    code, seconds = daemon.terminate()
    assert (code, seconds < PROMPT_S) == (EXIT_OK, True)


def test_a_killed_agent_is_reported_offline_by_the_broker(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start()
    receive(subscriber, "state")
    daemon.kill()
    assert receive(subscriber, "availability", lambda text: text == "offline") == "offline"


def test_it_starts_without_a_broker_and_publishes_when_there_is_one(
    start: StartDaemon, broker: Mosquitto
) -> None:
    broker.stop()
    daemon = start()
    wait_until(lambda: "nothing listens there" in daemon.log, START_S)
    broker.start()
    with Subscriber("127.0.0.1", broker.port, f"edge_agent/{DEVICE}/#") as subscriber:
        assert receive(subscriber, "state")["top"]
    assert daemon.log.count("nothing listens there") == 1


def test_a_source_that_is_missing_is_opened_again_until_it_is_there(
    start: StartDaemon, subscriber: Subscriber, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    daemon = start(source={"folder": {"path": str(tmp_path), "loop": True}})
    health = receive(subscriber, "health", lambda payload: payload["camera"]["state"] == "reopening")
    assert str(tmp_path) in health["camera"]["last_error"]
    daemon.edit(source={"folder": {"path": str(folder)}})  # which is refused: it does not exist
    receive(subscriber, "info", lambda payload: "folder" in payload["config_error"])
    shutil.copy(PICTURES_DIR / "cat.jpg", tmp_path)
    assert receive(subscriber, "state")["label"] in RIGHT["cat.jpg"]


def test_the_lean_agent_loads_neither_torch_nor_opencv(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start(model={"engine": "xnnpack"})
    receive(subscriber, "state")
    mapped = Path(f"/proc/{daemon.pid}/maps").read_text().lower()
    assert "xnnpack" in mapped
    assert not any(name in mapped for name in ("/torch/", "opencv", "cv2"))


def test_the_start_log_says_what_each_part_costs(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start()
    receive(subscriber, "state")
    wait_until(lambda: "memory: python" in daemon.log)
    line = next(line for line in daemon.log.splitlines() if "memory: python" in line)
    assert all(part in line for part in ("python", "model", "mqtt", "MB", "budget_mb=512"))


def test_a_budget_below_the_floor_is_refused_with_the_floor_and_what_would_fit(
    start: StartDaemon,
) -> None:
    daemon = start(memory={"budget_mb": 32})
    assert daemon.wait() == EXIT_USAGE
    assert re.search(r"memory.budget_mb is 32, and the agent with (native|xnnpack) fp16 needs", daemon.log)
    assert "set it to" in daemon.log


def test_a_live_edit_is_applied_without_a_restart(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start()
    receive(subscriber, "state", lambda state: state["label"] in RIGHT["cat.jpg"])
    daemon.edit(labels={"map": {"Egyptian cat": "cat", "tiger cat": "cat", "tabby": "cat"}})
    state = receive(subscriber, "state", lambda state: state["label"] == "cat")
    assert state["score"] > 0.8  # of the three together
    daemon.edit(stabilizer={"threshold": 1.0})
    assert receive(subscriber, "state", lambda state: state["unknown"])["label"] == "unknown"
    assert daemon.running


def test_a_wrong_edit_is_refused_whole_and_mended_live(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start()
    receive(subscriber, "state")
    daemon.edit(publish={"health_interval_s": 2}, stabilizer={"vote": 2})
    info = receive(subscriber, "info", lambda payload: payload["config_error"])
    assert "stabilizer.vote" in info["config_error"]
    assert "did you mean 'votes'" in info["config_error"]
    assert info["config"]["publish"]["health_interval_s"] == 1
    assert receive(subscriber, "state")
    settings = dict(daemon.settings)
    settings["stabilizer"] = {"window": 1, "votes": 1}
    daemon.write(settings)
    info = receive(subscriber, "info", lambda payload: not payload["config_error"])
    assert info["config"]["publish"]["health_interval_s"] == 2


def test_a_start_with_a_wrong_file_goes_on_with_the_last_good_one(
    start: StartDaemon, subscriber: Subscriber, tmp_path: Path
) -> None:
    copy = tmp_path / "last-good.yaml"
    daemon = start("--last-good", str(copy))
    receive(subscriber, "info")
    receive(subscriber, "state")
    daemon.edit(publish={"health_interval_s": 3})
    receive(subscriber, "info", lambda info: info["config"]["publish"]["health_interval_s"] == 3)
    daemon.edit(stabilizer={"vote": 2})
    receive(subscriber, "info", lambda payload: payload["config_error"])
    daemon.kill()
    receive(subscriber, "availability", lambda text: text == "offline")
    daemon.start()
    info = receive(subscriber, "info")
    assert "did you mean 'votes'" in info["config_error"]
    assert info["config"]["publish"]["health_interval_s"] == 3
    assert "starting with the last good one" in daemon.log
    assert receive(subscriber, "state")
    settings = dict(daemon.settings)
    settings["stabilizer"] = {"window": 1, "votes": 1}
    daemon.write(settings)
    receive(subscriber, "info", lambda payload: not payload["config_error"])


def test_a_first_start_with_a_wrong_file_fails_and_says_the_line(start: StartDaemon, tmp_path: Path) -> None:
    daemon = start("--last-good", str(tmp_path / "last-good.yaml"), stabilizer={"vote": 2})
    assert daemon.wait() == EXIT_USAGE
    assert "did you mean 'votes'" in daemon.log


def test_sighup_reads_the_configuration_again(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start()
    receive(subscriber, "state")
    daemon.send(signal.SIGHUP)
    assert receive(subscriber, "info")["config_error"] == ""
    assert receive(subscriber, "state")


def test_a_label_that_the_model_does_not_have_is_refused(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start()
    receive(subscriber, "state")
    daemon.edit(labels={"allow": ["tabbi"]})
    info = receive(subscriber, "info", lambda payload: payload["config_error"])
    assert "labels.allow: the agent could not run with that" in info["config_error"]
    assert "labels.allow: the model has no label '***'; did you mean 'tabby'?" in daemon.log
    assert "tabbi" not in info["config_error"] + daemon.log
    assert daemon.running


def test_another_broker_is_connected_to_without_a_restart(
    start: StartDaemon, subscriber: Subscriber, tmp_path: Path
) -> None:
    daemon = start()
    receive(subscriber, "state")
    with (
        Mosquitto(tmp_path / "other") as other,
        Subscriber("127.0.0.1", other.port, f"edge_agent/{DEVICE}/#") as elsewhere,
    ):
        daemon.edit(mqtt={"port": other.port})
        assert receive(subscriber, "availability", lambda text: text == "offline") == "offline"
        messages = collect(elsewhere, of("availability"), START_S)
        assert messages[-1].payload == b"online"
        assert payloads(messages, "info")
        assert receive(elsewhere, "state")


def test_another_source_is_opened_without_a_restart(
    start: StartDaemon, subscriber: Subscriber, tmp_path: Path
) -> None:
    daemon = start()
    receive(subscriber, "state")
    shutil.copy(PICTURES_DIR / "tripod.jpg", tmp_path)
    pid = daemon.pid
    daemon.edit(source={"folder": {"path": str(tmp_path)}})
    receive(subscriber, "info", lambda info: info["config"]["source"]["folder"]["path"] == str(tmp_path))
    labels: list[str] = []
    while labels[-3:] != ["tripod"] * 3:  # of the bundled pictures, no two in a row show the same
        labels.append(receive(subscriber, "state")["label"])
        assert len(labels) < 50
    assert (daemon.pid, daemon.running) == (pid, True)


def test_what_needs_a_restart_ends_with_75_and_the_next_start_says_why(
    start: StartDaemon, subscriber: Subscriber
) -> None:
    daemon = start()
    receive(subscriber, "state")
    daemon.edit(model={"precision": "fp32"})
    assert daemon.wait() == EXIT_RESTART
    assert receive(subscriber, "availability", lambda text: text == "offline")
    daemon.start()
    info = receive(subscriber, "info")
    assert info["restart_reason"] == "the configuration changed: model.precision"
    assert info["engine"]["precision"] == "fp32"


def test_a_restart_into_a_model_that_is_not_there_is_refused(
    start: StartDaemon, subscriber: Subscriber, tmp_path: Path
) -> None:
    daemon = start()
    receive(subscriber, "state")
    daemon.edit(model={"path": str(tmp_path)})
    info = receive(subscriber, "info", lambda payload: payload["config_error"])
    assert "model.path: the agent could not run with that" in info["config_error"]
    assert daemon.running


def test_a_second_agent_on_the_same_state_directory_is_refused(
    start: StartDaemon, subscriber: Subscriber
) -> None:
    first = start()
    receive(subscriber, "state")
    second = Daemon(first.directory.parent / "second", first.settings)
    second.state_dir = first.state_dir
    second.start()
    try:
        assert second.wait() == EXIT_FAILURE
    finally:
        second.kill()
    assert f"another agent runs with the state directory {first.state_dir}: stop it first" in second.log
    assert "Traceback" not in second.log
    receive(subscriber, "state")  # the first goes on undisturbed


def test_sequence_numbers_grow_over_a_kill(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start()
    before = receive(subscriber, "state")["seq"]
    daemon.kill()
    daemon.start()
    receive(subscriber, "availability", lambda text: text == "online")
    assert receive(subscriber, "state")["seq"] > before


@pytest.mark.parametrize("engine", ["xnnpack", "torchscript"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_every_engine_and_precision_gives_the_right_labels(
    start: StartDaemon, subscriber: Subscriber, engine: str, precision: str
) -> None:
    start(
        model={"engine": engine, "precision": precision},
        source={"folder": {"loop": False}},
        memory={"budget_mb": 4096},
    )
    messages = collect(subscriber, of("availability", lambda text: text == "offline"), START_S)
    states = payloads(messages, "state")
    assert all(state["label"] in RIGHT[name] for name, state in zip(NAMES, states, strict=True))
    assert {(state["model"]["engine"], state["model"]["precision"]) for state in states} == {
        (engine, precision)
    }


def test_a_damaged_model_is_refused_by_name(start: StartDaemon, lite0: Artifact, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(lite0.directory, model, ignore=shutil.ignore_patterns("*.packed"))
    weights = model / "xnnpack-fp16.weights"
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    daemon = start(model={"path": str(model)})
    assert daemon.wait() == EXIT_FAILURE
    assert "xnnpack-fp16.weights" in daemon.log
    assert "Traceback" not in daemon.log
