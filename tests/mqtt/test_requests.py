"""Requests and their answers."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.errors import ConfigError
from edge_agent.mqtt.contract.message import Incoming
from edge_agent.mqtt.publisher import Subscription
from edge_agent.mqtt.requests import Control, HeadRequest
from edge_agent.system.clock import SystemClock
from edge_agent.system.token_bucket import TokenBucket
from tests.clock import FakeClock
from tests.installed import program
from tests.mqtt.brokers import HOST, Mosquitto, wait_until
from tests.mqtt.helpers import Bench, FakeAgent, make_publisher, wait_connected
from tests.mqtt.samples import TOPICS, broker_config

SECRET = "hunter2"


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_pause_and_resume(bench: Bench) -> None:
    assert bench.answer("pause")["data"] == {"paused": True}
    assert bench.agent.paused
    assert bench.answer("resume")["data"] == {"paused": False}
    assert not bench.agent.paused


def test_one_topic_serves_a_switch(bench: Bench) -> None:
    assert bench.answer("pause", b'{"paused":true}')["data"] == {"paused": True}
    assert bench.agent.paused
    assert bench.answer("pause", b'{"paused":false}')["data"] == {"paused": False}
    assert not bench.agent.paused


@pytest.mark.parametrize("transaction", ["abc", "", 7, None])
def test_the_transaction_comes_back(bench: Bench, transaction: object) -> None:
    answer = bench.answer("pause", json.dumps({"transaction": transaction}).encode())
    assert (answer["status"], answer["transaction"]) == ("ok", transaction)


def test_a_snapshot_is_published_as_an_image(bench: Bench) -> None:
    picture, answer = bench.ask("snapshot")
    assert (picture.topic, picture.payload, picture.qos, picture.retain) == (
        TOPICS.image,
        b"\xff\xd8jpeg",
        0,
        False,
    )
    assert json.loads(answer.payload)["data"] == {"topic": TOPICS.image, "bytes": 6}


def test_a_failure_is_answered_with_its_message(bench: Bench) -> None:
    bench.agent.picture = None
    error = bench.answer("snapshot", b'{"transaction": 1}')
    assert error["error"] == {"code": "failed", "message": "no frame has been captured yet"}
    assert error["transaction"] == 1
    bench.agent.problem = ConfigError("edge-agent.yaml:3: fps: 200 is above 120")
    assert "edge-agent.yaml:3" in bench.answer("reload")["error"]["message"]


@pytest.mark.parametrize("error", [KeyError, MemoryError, OSError, RecursionError])
@pytest.mark.parametrize(
    "verb", ["pause", "resume", "snapshot", "reload", "restart", "config/get", "config/set"]
)
def test_an_unexpected_failure_is_answered_and_logged_without_its_text(
    verb: str, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeAgent):
        def __getattribute__(self, name: str) -> Any:
            raise error(SECRET)

    bench = Bench(agent=Broken())
    answer = bench.answer(verb, b'{"transaction": 1}')
    assert (answer["status"], answer["transaction"]) == ("error", 1)
    assert answer["error"]["message"].startswith("it has failed unexpectedly")
    assert error.__name__ in caplog.text
    assert SECRET not in caplog.text + json.dumps(answer)


def test_reloading_answers_with_what_has_changed(bench: Bench) -> None:
    assert bench.answer("reload")["data"] == {"changed": ["source.fps"], "restarts": False}


def test_the_configuration_is_given_with_its_secrets_masked(bench: Bench) -> None:
    data = bench.answer("config/get")["data"]
    assert data["config"]["mqtt"]["password"] == "***"
    assert data["config"]["source"]["rtsp"]["url"] == "rtsp://***@cam/***"
    assert data["config"]["source"]["fps"] == 2.0
    assert "hunter2" not in json.dumps(data)


def test_settings_are_passed_on_and_the_answer_names_them(bench: Bench) -> None:
    answer = bench.answer("config/set", b'{"settings": {"source.fps": 2, "stabilizer.threshold": 0.4}}')
    assert answer["data"] == {"changed": ["source.fps", "stabilizer.threshold"]}
    assert bench.agent.settings == {"source.fps": 2, "stabilizer.threshold": 0.4}


def test_a_patch_may_hold_more_than_numbers(bench: Bench) -> None:
    answer = bench.answer("config/patch", b'{"settings": {"labels.allow": ["cat"], "log.level": "debug"}}')
    assert answer["data"] == {"changed": ["labels.allow", "log.level"], "restarts": False}
    assert bench.agent.settings == {"labels.allow": ["cat"], "log.level": "debug"}


@pytest.mark.parametrize(
    "settings", ["[]", "1", '"x"', '{"a": "1"}', '{"a": true}', '{"a": null}', '{"a": NaN}', '{"a": 1e999}']
)
def test_settings_that_are_no_numbers_are_malformed(bench: Bench, settings: str) -> None:
    answer = bench.answer("config/set", f'{{"settings": {settings}}}'.encode())
    assert answer["error"]["code"] == "malformed"
    assert bench.agent.settings == {}


def test_a_head_is_passed_on_as_its_bytes(bench: Bench) -> None:
    content = b"\0head" * 20_000
    given = {"region": "gate", "head": base64.b64encode(content).decode(), "transaction": 7}
    answer = bench.answer("teach/head", json.dumps(given).encode())
    assert (answer["status"], answer["transaction"]) == ("ok", 7)
    assert bench.agent.heads == [HeadRequest("gate", content)]
    assert bench.answer("teach/head", b'{"head": ""}')["status"] == "ok"
    assert bench.agent.heads[1] == HeadRequest()


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b'{"head": null}', b'{"head": 5}', b'{"head": "a"}', b'{"head": "\xc3\xa4"}',
     b'{"head": "", "region": 1}', b'{"head": "' + b"A" * 200_000 + b'"}'],
)  # fmt: skip
def test_what_is_no_head_is_malformed(bench: Bench, payload: bytes) -> None:
    assert bench.answer("teach/head", payload)["error"]["code"] == "malformed"
    assert bench.agent.heads == []


def test_other_requests_stay_small(bench: Bench) -> None:
    payload = b'{"head": "' + b"A" * 5_000 + b'"}'
    assert bench.answer("teach/add", payload)["error"]["code"] == "malformed"


def test_a_restart_is_answered_before_it_happens(bench: Bench) -> None:
    assert bench.answer("restart")["data"] == {"restarts": True}
    assert bench.agent.restarted


def test_a_retained_request_is_ignored(bench: Bench) -> None:
    assert bench.ask("pause", retained=True) == []
    assert not bench.agent.paused


@pytest.mark.parametrize(
    "payload",
    [
        b"pause",
        b"[]",
        b"1",
        b"\xff\xfe\x00",
        b'{"transaction": true}',
        b'{"transaction": 1.5}',
        b'{"transaction": {}}',
        b'{"paused": 1}',
        b'{"transaction": "' + b"x" * 129 + b'"}',
        b'{"a": "' + b"x" * 5000 + b'"}',
        b"[" * 3000,
    ],
)
def test_a_malformed_request_is_answered_and_not_carried_out(bench: Bench, payload: bytes) -> None:
    answer = bench.answer("pause", payload)
    assert (answer["status"], answer["error"]["code"]) == ("error", "malformed")
    assert not bench.agent.paused


@pytest.mark.parametrize(
    ("verb", "answered_on"),
    [
        ("reboot", TOPICS.response("reboot")),
        ("config", TOPICS.response("config")),
        ("pause/now", TOPICS.response("pause/now")),
        ("PAUSE", TOPICS.response("error")),
        ("", TOPICS.response("error")),
        ("a/b/c", TOPICS.response("error")),
        ("x" * 1000, TOPICS.response("error")),
    ],
)
def test_an_unknown_verb_is_answered_with_those_there_are(bench: Bench, verb: str, answered_on: str) -> None:
    (answer,) = bench.ask(verb, b'{"transaction": "t"}')
    body = json.loads(answer.payload)
    assert answer.topic == answered_on
    assert (body["error"]["code"], body["transaction"]) == ("unknown_verb", "t")
    assert "pause, resume, snapshot, reload, config/get" in body["error"]["message"]


def test_answers_go_where_an_mqtt_5_requester_expects_them(bench: Bench) -> None:
    (answer,) = bench.ask("pause", response_topic="me/answers", correlation=b"\x00\x01")
    assert (answer.topic, answer.correlation, answer.retain) == ("me/answers", b"\x00\x01", False)


@pytest.mark.parametrize("topic", ["a/+/b", "a/#", "a\0b", TOPICS.request("pause")])
def test_a_response_topic_that_would_do_harm_is_not_used(bench: Bench, topic: str) -> None:
    (answer,) = bench.ask("pause", response_topic=topic)
    assert answer.topic == TOPICS.response("pause")


def test_beyond_the_rate_limit_requests_are_refused_and_answered_once() -> None:
    bench = Bench(max_per_minute=3)
    for _ in range(3):
        assert bench.answer("pause")["status"] == "ok"
    assert bench.answer("resume")["error"]["code"] == "too_many_requests"
    assert bench.ask("resume") == []
    assert bench.agent.paused
    bench.clock.advance(20)
    assert bench.answer("resume")["status"] == "ok"
    assert bench.answer("resume")["error"]["code"] == "too_many_requests"
    bench.control.limit(10)
    assert bench.answer("resume")["status"] == "ok"


def test_requests_that_pile_up_are_refused() -> None:
    bench = Bench(max_per_minute=6000)
    for _ in range(20):
        bench.control.receive(Incoming(TOPICS.request("pause"), b"", False))
    assert len(bench.sent) == 4
    bench.control.work()
    assert len(bench.sent) == 20


def test_work_is_announced() -> None:
    rung: list[bool] = []
    control = Control(
        TOPICS,
        FakeAgent(),
        lambda _: None,
        FakeClock(),
        max_per_minute=60,
        wake=lambda: rung.append(True),
    )
    control.receive(Incoming(TOPICS.request("pause"), b"", False))
    assert rung == [True]


@given(st.integers(1, 6000), st.lists(st.floats(0, 30), max_size=200))
def test_a_bucket_never_lets_more_through_than_its_rate(per_minute: int, pauses: list[float]) -> None:
    clock = FakeClock()
    bucket = TokenBucket(per_minute, clock)
    passed = 0
    for pause_s in pauses:
        clock.advance(pause_s)
        passed += bucket.take()
    assert passed <= per_minute + sum(pauses) * per_minute / 60 + 1e-6


@given(
    st.binary(max_size=200)
    | st.text(max_size=50).map(lambda text: json.dumps({"transaction": text}).encode())
)
def test_any_payload_gets_exactly_one_valid_answer(payload: bytes) -> None:
    assert Bench().answer("pause", payload)["status"] in ("ok", "error")


class TestOnARealBroker:
    """From a real requester to the agent and back."""

    @pytest.fixture
    def agent(self, broker: Mosquitto) -> Any:
        agent = FakeAgent()
        publisher = make_publisher(broker_config(broker.port))
        control = Control(TOPICS, agent, publisher.publish, SystemClock(), max_per_minute=60)

        def receive(message: Incoming) -> None:
            control.receive(message)
            control.work()

        publisher.listen(Subscription(TOPICS.request("#"), receive))
        publisher.start()
        wait_connected(publisher)
        yield agent
        publisher.stop()

    @pytest.mark.parametrize("version", ["mqttv5", "mqttv311"])
    def test_a_command_line_requester(self, broker: Mosquitto, agent: FakeAgent, version: str) -> None:
        command = [program("mosquitto_rr"), "-h", HOST, "-p", str(broker.port), "-V", version, "-W", "5"]
        topics = ["-t", TOPICS.request("pause"), "-e", TOPICS.response("pause")]
        asked = subprocess.run(
            [*command, *topics, "-m", '{"transaction": "t1"}'], capture_output=True, check=True
        )
        assert json.loads(asked.stdout) == {
            "schema": 1,
            "transaction": "t1",
            "status": "ok",
            "data": {"paused": True},
        }
        assert agent.paused

    def test_a_requester_with_correlation_data(self, broker: Mosquitto, agent: FakeAgent) -> None:
        answers: list[tuple[bytes, bytes]] = []
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_message = lambda _client, _data, message: answers.append(
            (bytes(message.payload), message.properties.CorrelationData)  # type: ignore[union-attr]
        )
        subscribed: list[bool] = []
        client.on_subscribe = lambda *_: subscribed.append(True)
        client.connect(HOST, broker.port)
        client.loop_start()
        client.subscribe("me/answers", qos=1)
        wait_until(lambda: bool(subscribed))
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = "me/answers"
        properties.CorrelationData = b"\x01\x02"
        client.publish(TOPICS.request("config/get"), b"", qos=1, properties=properties)
        wait_until(lambda: bool(answers))
        client.disconnect()
        client.loop_stop()
        payload, correlation = answers[0]
        assert correlation == b"\x01\x02"
        assert json.loads(payload)["data"]["config"]["mqtt"]["password"] == "***"
        assert agent.paused is False
