"""Requests to the running daemon over MQTT."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import Ask, StartDaemon
from tests.daemon.helpers import DEVICE, START_S, of, receive
from tests.daemon.process import Daemon
from tests.mqtt.brokers import collect


@pytest.fixture
def daemon(start: StartDaemon, subscriber: Subscriber) -> Daemon:
    running = start(control={"enabled": True})
    receive(subscriber, "state")
    return running


@pytest.mark.usefixtures("daemon")
def test_it_pauses_and_resumes_on_request(ask: Ask, subscriber: Subscriber) -> None:
    answer = ask("pause", transaction="t1")
    assert (answer["status"], answer["data"]) == ("ok", {"paused": True})
    receive(subscriber, "health", lambda health: health["camera"]["state"] == "paused")
    assert ask("resume", transaction="t2")["data"] == {"paused": False}
    assert receive(subscriber, "state")


@pytest.mark.usefixtures("daemon")
def test_a_snapshot_is_a_jpeg_of_the_newest_frame(ask: Ask, subscriber: Subscriber) -> None:
    ask("snapshot", transaction=1, await_answer=False)
    topic = f"edge_agent/{DEVICE}/image"
    jpeg = collect(subscriber, lambda message: message.topic == topic, START_S)[-1].payload
    with Image.open(io.BytesIO(jpeg)) as picture:
        assert (picture.format, picture.mode) == ("JPEG", "RGB")


def test_the_configuration_is_answered_with_its_secrets_masked(
    ask: Ask, daemon: Daemon, subscriber: Subscriber
) -> None:
    daemon.edit(mqtt={"username": "pi", "password": "raspberry"})
    receive(subscriber, "availability", lambda text: text == "offline")
    receive(subscriber, "availability", lambda text: text == "online")
    answer = ask("config/get", transaction="c")
    assert answer["data"]["config"]["mqtt"]["username"] == "pi"
    assert answer["data"]["config"]["mqtt"]["password"] == "***"
    assert "raspberry" not in json.dumps(answer)


def test_a_reload_answers_what_has_changed(ask: Ask, daemon: Daemon) -> None:
    assert ask("reload", transaction="r1")["data"] == {"changed": [], "restarts": False}
    daemon.config.write_text("stabilizer: {vote: 2}\n")
    answer = ask("reload", transaction="r2")
    assert answer["status"] == "error"
    assert "did you mean 'votes'" in answer["error"]["message"]
    assert daemon.running


@pytest.mark.usefixtures("daemon")
def test_an_unknown_request_is_refused(ask: Ask) -> None:
    answer = ask("fly", transaction="f")
    assert answer["error"]["code"] == "unknown_verb"


def test_requests_are_not_listened_to_unless_enabled(
    start: StartDaemon, ask: Ask, subscriber: Subscriber
) -> None:
    start()
    receive(subscriber, "state")
    ask("pause", transaction="t", await_answer=False)
    messages = collect(subscriber, of("health"), START_S)
    messages += collect(subscriber, of("health"), START_S)
    assert not any("/response/" in message.topic for message in messages)


def test_a_patch_changes_the_file_and_keeps_its_comments(ask: Ask, daemon: Daemon) -> None:
    daemon.edit(control={"enabled": True, "allow_patch": True})
    commented = f"# Mine.\n{daemon.config.read_text()}motion: {{threshold: 6.5}}  # calm\n"
    unfinished = daemon.config.with_suffix(".new")
    unfinished.write_text(commented)
    unfinished.replace(daemon.config)
    assert ask("reload", transaction="p1")["status"] == "ok"
    answer = ask("config/patch", transaction="p2", settings={"motion.threshold": 5, "log.level": "debug"})
    assert answer["data"] == {"changed": ["motion.threshold", "log.level"], "restarts": False}
    text = daemon.config.read_text()
    assert text.startswith("# Mine.\n")
    assert "motion: {threshold: 5}  # calm\n" in text
    assert ask("config/get", transaction="p3")["data"]["config"]["log"]["level"] == "debug"
    assert ask("config/patch", transaction="p4", settings={"mqtt.port": 1})["status"] == "error"
