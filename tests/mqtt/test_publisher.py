"""The publisher, against a real broker: what subscribers receive, and what happens without a broker."""

from __future__ import annotations

import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.config.schema import MqttConfig
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.publisher import Publisher, Subscription, Timing
from edge_agent.mqtt.wire.connection import Connection
from edge_agent.mqtt.wire.status import BrokerStatus, Trouble
from edge_agent.system.clock import SystemClock
from edge_agent.system.secret import Secret
from edge_agent.tools.demo.broker import embedded_broker
from edge_agent.tools.demo.subscriber import Subscriber
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, Mosquitto, collect, free_port, wait_until
from tests.mqtt.helpers import connected, is_, make_publisher, passwords, publishing, wait_connected
from tests.mqtt.samples import TOPICS, broker_config

MakeBroker = Callable[..., Mosquitto]


def interrupt(publisher: Publisher, config: MqttConfig) -> None:
    """Have the broker end the publisher's connection: another client takes its id."""
    before = publisher.status.reconnects
    with connected(config, client_id=f"edge-agent-{TOPICS.device_id}"):
        wait_until(lambda: publisher.status.reconnects > before)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_every_topic_reaches_a_subscriber_as_the_contract_says(broker: Mosquitto, protocol: str) -> None:
    with Subscriber(HOST, broker.port, "#") as subscriber:
        with publishing(broker_config(broker.port, protocol=protocol)) as publisher:
            assert publisher.status.protocol == protocol
            publisher.publish_info(samples.info())
            publisher.publish_state(samples.state())
            publisher.publish_health(samples.health())
            publisher.publish_event(samples.changed(2))
            publisher.publish_prediction(samples.prediction())
            publisher.publish_image(b"\xff\xd8jpeg")
            publisher.publish(Message(TOPICS.response("pause"), b"{}"))
        live = collect(subscriber, is_(TOPICS.availability, b"offline"))
    assert {message.topic for message in live} == {
        TOPICS.availability,
        TOPICS.info,
        TOPICS.state,
        TOPICS.health,
        TOPICS.event,
        TOPICS.prediction,
        TOPICS.image,
        TOPICS.response("pause"),
    }
    with Subscriber(HOST, broker.port, "#") as late:
        retained = [late.next(5) for _ in range(4)]
        assert late.next(0.2) is None
    kept = {message.topic: message.payload for message in retained if message is not None}
    assert set(kept) == {TOPICS.availability, TOPICS.info, TOPICS.state, TOPICS.health}
    assert kept[TOPICS.availability] == b"offline"
    assert json.loads(kept[TOPICS.state])["label"] == "tabby"


def test_every_state_is_published_in_order(broker: Mosquitto) -> None:
    count = 300
    with (
        Subscriber(HOST, broker.port, TOPICS.state) as subscriber,
        publishing(broker_config(broker.port)) as publisher,
    ):
        for seq in range(1, count + 1):
            publisher.publish_state(samples.state(seq))
            # As fast as they are sent: the oldest of a longer queue would give way.
            wait_until(lambda sent=seq - 8: publisher.status.published >= sent)  # type: ignore[misc]
        messages = collect(subscriber, lambda message: json.loads(message.payload)["seq"] == count)
    assert [json.loads(message.payload)["seq"] for message in messages] == list(range(1, count + 1))
    assert publisher.status.dropped == 0


def test_after_each_reconnect_come_info_and_state_and_then_online(broker: Mosquitto) -> None:
    config = broker_config(broker.port)
    with publishing(config) as publisher:
        publisher.publish_state(samples.state(1))
        publisher.publish_info(samples.info())
        publisher.publish_state(samples.state(2, "dog"))
        wait_until(lambda: publisher.status.published == 4)
        with Subscriber(HOST, broker.port, "#") as subscriber:
            interrupt(publisher, config)
            messages = collect(
                subscriber,
                lambda m: not m.retained and m.topic == TOPICS.availability and m.payload == b"online",
            )
    fresh = [message for message in messages if not message.retained]
    assert [message.topic for message in fresh][-3:] == [TOPICS.info, TOPICS.state, TOPICS.availability]
    assert json.loads(fresh[-2].payload)["seq"] == 2


def test_while_the_broker_is_away_states_are_not_queued_but_events_are(tmp_path: Path) -> None:
    port = free_port()
    broker = Mosquitto(tmp_path / "late", port=port)
    with publishing(broker_config(port), wait=False) as publisher:
        for seq in range(1, 21, 2):
            publisher.publish_state(samples.state(seq))
            publisher.publish_event(samples.changed(seq + 1))
        wait_until(lambda: publisher.status.trouble is Trouble.REFUSED)
        assert publisher.status.queued_events == 10
        relay = Mosquitto(tmp_path / "relay")
        relay.start()
        # The subscriber must be there before the publisher is: it listens at the far end of a bridge.
        broker_lines = f"\nconnection out\naddress {HOST}:{relay.port}\ntopic edge_agent/# out 1\n"
        (tmp_path / "late" / "mosquitto.conf").open("a").write(broker_lines)
        with Subscriber(HOST, relay.port, "edge_agent/#") as subscriber:
            broker.start()
            messages = collect(subscriber, lambda m: m.topic == TOPICS.event and b'"seq":20,' in m.payload)
        relay.kill()
    broker.kill()
    states = [json.loads(m.payload)["seq"] for m in messages if m.topic == TOPICS.state]
    events = [json.loads(m.payload)["seq"] for m in messages if m.topic == TOPICS.event]
    assert set(states) == {19}
    assert events == list(range(2, 21, 2))
    assert publisher.status.queued_events == 0


def test_a_vanished_agent_is_offline_by_its_last_will(broker: Mosquitto) -> None:
    config = broker_config(broker.port, keepalive_s=5)
    with Subscriber(HOST, broker.port, TOPICS.availability) as subscriber:
        vanishing = Connection(
            config, "gone", "5", will=Message(TOPICS.availability, b"offline", retain=True), environment={}
        )
        vanishing.open(SystemClock())
        vanishing.close(goodbye=False)
        messages = collect(subscriber, is_(TOPICS.availability, b"offline"))
    assert len(messages) == 1


def test_stopping_leaves_offline_behind_and_no_message_unsent(broker: Mosquitto) -> None:
    with Subscriber(HOST, broker.port, "#") as subscriber:
        with publishing(broker_config(broker.port)) as publisher:
            for seq in range(1, 101):
                publisher.publish_event(samples.changed(seq))
        messages = collect(subscriber, is_(TOPICS.availability, b"offline"))
    assert [message.topic for message in messages].count(TOPICS.event) == 100
    assert publisher.status.connected is False


def seconds_to_stop(publisher: Publisher) -> float:
    started_s = time.monotonic()
    publisher.stop(1.0)
    return time.monotonic() - started_s


class TestStoppingInTime:
    """`stop(1.0)` is bounded, whatever the broker does; unbounded it would take five seconds or more."""

    limit_s = 3.0  # with room for a busy machine

    def test_with_a_broker_that_is_not_there(self) -> None:
        with publishing(broker_config(free_port()), wait=False) as publisher:
            wait_until(lambda: publisher.status.trouble is not None)
            assert seconds_to_stop(publisher) < self.limit_s

    def test_with_a_broker_that_hangs(self, broker: Mosquitto) -> None:
        with publishing(broker_config(broker.port)) as publisher:
            publisher.publish_event(samples.changed(1))
            wait_until(lambda: publisher.status.queued_events == 0)
            broker.send(signal.SIGSTOP)
            publisher.publish_event(samples.changed(2))
            assert seconds_to_stop(publisher) < self.limit_s
            assert publisher.status.queued_events == 1

    def test_with_a_broker_that_hangs_while_it_is_connected_to(self, broker: Mosquitto) -> None:
        broker.send(signal.SIGSTOP)
        with publishing(broker_config(broker.port), wait=False) as publisher:
            time.sleep(0.1)
            assert seconds_to_stop(publisher) < self.limit_s

    def test_with_a_network_that_swallows_every_packet(self) -> None:
        with socket.socket() as full:
            full.bind((HOST, 0))
            full.listen(0)
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex((HOST, full.getsockname()[1]))
            with publishing(broker_config(full.getsockname()[1]), wait=False) as publisher:
                time.sleep(0.1)
                assert seconds_to_stop(publisher) < self.limit_s
            for filler in fillers:
                filler.close()

    def test_before_it_was_started(self) -> None:
        publisher = make_publisher(broker_config(free_port()))
        assert seconds_to_stop(publisher) < self.limit_s


def test_a_hung_brokers_last_will_says_offline(broker: Mosquitto) -> None:
    with Subscriber(HOST, broker.port, TOPICS.availability) as subscriber:
        with publishing(broker_config(broker.port)) as publisher:
            collect(subscriber, is_(TOPICS.availability, b"online"))
            broker.send(signal.SIGSTOP)
            publisher.stop(0.2)
        broker.send(signal.SIGCONT)
        collect(subscriber, is_(TOPICS.availability, b"offline"))


def test_publishing_never_blocks_on_a_broker_that_hangs(broker: Mosquitto) -> None:
    with publishing(broker_config(broker.port)) as publisher:
        broker.send(signal.SIGSTOP)
        done = threading.Event()

        def publish() -> None:
            for seq in range(1, 3000):
                publisher.publish_state(samples.state(seq))
                publisher.publish_image(b"x" * 100_000)
            done.set()

        threading.Thread(target=publish, daemon=True).start()
        assert done.wait(30)
        assert publisher.status.dropped > 2000
        broker.send(signal.SIGCONT)
        publisher.publish_state(samples.state(5000))
        with Subscriber(HOST, broker.port, TOPICS.state) as subscriber:
            collect(subscriber, lambda message: json.loads(message.payload)["seq"] == 5000)


class TestTrouble:
    """The status distinguishes each kind of trouble, and each is logged once."""

    def test_refused_credentials(
        self, make_broker: MakeBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        broker = make_broker(f"allow_anonymous false\npassword_file {passwords(tmp_path)}\n")
        config = broker_config(broker.port, username="agent", password=Secret("wrong"))
        with caplog.at_level(logging.INFO), publishing(config, wait=False) as publisher:
            wait_until(lambda: publisher.status.trouble is Trouble.CREDENTIALS)
            assert publisher.status.summary == "credentials refused"
            time.sleep(0.5)  # several further attempts
        assert len([r for r in caplog.records if "refused the connection" in r.getMessage()]) == 1

    def test_a_broker_that_is_away(self, caplog: pytest.LogCaptureFixture) -> None:
        with (
            caplog.at_level(logging.INFO),
            publishing(broker_config(free_port()), wait=False) as publisher,
        ):
            wait_until(lambda: publisher.status.trouble is Trouble.REFUSED)
            time.sleep(0.5)
        assert len([r for r in caplog.records if "nothing listens" in r.getMessage()]) == 1

    def test_a_password_file_that_comes_later(self, make_broker: MakeBroker, tmp_path: Path) -> None:
        broker = make_broker(f"allow_anonymous false\npassword_file {passwords(tmp_path)}\n")
        secret = tmp_path / "secret"
        config = broker_config(broker.port, username="agent", password_file=secret)
        with publishing(config, wait=False) as publisher:
            wait_until(lambda: publisher.status.trouble is Trouble.LOCAL)
            secret.write_text("right\n")
            wait_connected(publisher)


def test_on_status_is_called_for_every_coming_and_going(broker: Mosquitto) -> None:
    seen: list[BrokerStatus] = []
    config = broker_config(broker.port)
    with publishing(config, on_status=seen.append) as publisher:
        interrupt(publisher, config)
        assert publisher.status.reconnects >= 1
    connected = [status.connected for status in seen]
    assert connected[:3] == [True, False, True]
    assert seen[0].trouble is None


def test_a_broker_that_knows_only_mqtt_3_is_spoken_to_in_its_own_version() -> None:
    with embedded_broker() as port, Subscriber(HOST, port, "#") as subscriber:
        # amqtt takes an MQTT 5 greeting that has a will for an unfinished packet, and waits for its end.
        publisher = make_publisher(broker_config(port), timing=Timing(answer_timeout_s=2.0))
        publisher.start()
        wait_connected(publisher, 30)
        assert publisher.status.protocol == "3.1.1"
        publisher.stop()
        collect(subscriber, is_(TOPICS.availability, b"offline"))


def test_announcements_come_first_and_on_each_connection(broker: Mosquitto) -> None:
    config = broker_config(broker.port)
    discovery = Message("homeassistant/device/porch/config", b"{}", retain=True)
    with (
        Subscriber(HOST, broker.port, "#") as subscriber,
        publishing(config, announcements=[discovery]) as publisher,
    ):
        online = is_(TOPICS.availability, b"online")
        assert [message.topic for message in collect(subscriber, online)] == [
            discovery.topic,
            TOPICS.availability,
        ]
        interrupt(publisher, config)
        collect(subscriber, is_(discovery.topic))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_subscriptions_are_made_on_each_connection(broker: Mosquitto, protocol: str) -> None:
    heard: list[Incoming] = []
    both = {TOPICS.request("config/get"), "x/status"}
    config = broker_config(broker.port, protocol=protocol)
    subscriptions = (Subscription(TOPICS.request("#"), heard.append), Subscription("x/status", heard.append))

    def are_heard() -> bool:
        """Tried again, but seldom, since the broker may not have the subscriptions yet."""
        for topic in (*both, "x/other"):
            other.send(Message(topic, b"{}"))
        time.sleep(0.3)
        return {message.topic for message in heard} >= both

    with (
        connected(broker_config(broker.port)) as other,
        publishing(config, subscriptions=subscriptions) as publisher,
    ):
        for _ in range(2):
            heard.clear()
            wait_until(are_heard)
            assert {message.topic for message in heard} == both
            interrupt(publisher, config)


def test_a_message_that_cannot_be_handled_costs_no_connection(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bytes] = []

    def broken(message: Incoming) -> None:
        heard.append(message.payload)
        raise RuntimeError(message.payload)

    config = broker_config(broker.port)
    with (
        connected(config) as other,
        publishing(config, subscriptions=[Subscription("x/status", broken)]) as publisher,
    ):
        for _ in range(3):
            other.send(Message("x/status", b"hunter2"))
        wait_until(lambda: len(heard) == 3)
        assert publisher.status.connected
        assert publisher.status.reconnects == 0
    assert caplog.text.count("with RuntimeError at publisher.py:") == 1
    assert "hunter2" not in caplog.text
