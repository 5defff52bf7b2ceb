"""Events counted at both ends while brokers and agents die: none lost, in order, duplicates only of QoS 1."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edge_agent.config.schema import OutboxConfig, TlsConfig
from edge_agent.mqtt.events.outbox import Outbox, open_outbox
from edge_agent.mqtt.publisher import Timing
from edge_agent.mqtt.wire.status import Trouble
from edge_agent.system.clock import SystemClock
from edge_agent.tools.demo.subscriber import Subscriber
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, Mosquitto, collect, free_port, wait_until
from tests.mqtt.events.durable import DurableSubscriber
from tests.mqtt.helpers import is_, passwords, publishing, wait_connected
from tests.mqtt.samples import TOPICS, broker_config, changed
from tests.mqtt.wire.certificates import Authority

MakeBroker = Callable[..., Mosquitto]

# Sessions and their messages are kept through restarts; none is held back or dropped by the broker itself.
_PERSISTENT = """persistence true
persistence_location {dir}/
max_inflight_messages 0
max_queued_messages 0
"""


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    places = {"STATE_DIRECTORY": str(tmp_path / "state"), "RUNTIME_DIRECTORY": str(tmp_path / "run")}
    opened = open_outbox(OutboxConfig(max_rows=1_000_000, max_mb=1000), SystemClock(), places)
    yield opened
    opened.close()


def check(received: list[bytes], sent: list[int]) -> None:
    """Every event arrived, in order; one that came again is the same to the last byte."""
    first: dict[int, bytes] = {}
    for payload in received:
        seq = json.loads(payload)["seq"]
        assert first.setdefault(seq, payload) == payload, f"seq {seq} stands for two events"
    lost = set(sent) - set(first)
    assert not lost, f"{len(lost)} of {len(sent)} events lost, the first of them {min(lost)}"
    assert list(first) == sorted(first), "an event came before an older one"


class TestBrokerKilled:
    """The broker is killed or restarted again and again while events flow."""

    def run(self, make_broker: MakeBroker, outbox: Outbox, deaths: int) -> None:
        chance = random.Random(deaths)
        broker = make_broker(_PERSISTENT)
        sent: list[int] = []
        with DurableSubscriber(broker.port, TOPICS.event) as subscriber:
            broker.stop()  # in good order, once, so that the durable session is on disk
            subscriber.wait_detached()
            broker.start()
            with publishing(broker_config(broker.port), events=outbox) as publisher:
                stopping = threading.Event()

                def publish() -> None:
                    while not stopping.wait(0.002):
                        sent.append(len(sent) + 1)
                        publisher.publish_event(changed(sent[-1]))

                pipeline = threading.Thread(target=publish)
                pipeline.start()
                for death in range(deaths):
                    # A broker that dies before its subscriber has an event loses that event: not our fault.
                    subscriber.wait_attached()
                    wait_until(lambda death=death: publisher.status.reconnects >= death)  # type: ignore[misc]
                    time.sleep(chance.uniform(0, 0.05))
                    broker.stop(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
                    subscriber.wait_detached()
                    time.sleep(chance.uniform(0, 0.05))
                    broker.start()
                stopping.set()
                pipeline.join()
                wait_until(lambda: publisher.status.queued_events == 0)
                wait_until(lambda: bool(sent) and b'"seq":%d,' % sent[-1] in subscriber.payloads[-1])
        assert publisher.status.dropped_events == 0
        check(subscriber.payloads, sent)

    def test_a_dozen_times(self, make_broker: MakeBroker, outbox: Outbox) -> None:
        self.run(make_broker, outbox, 12)

    @pytest.mark.fault
    def test_a_hundred_times(self, make_broker: MakeBroker, outbox: Outbox) -> None:
        self.run(make_broker, outbox, 100)


class TestAgentKilled:
    """The agent is killed at random moments, with the broker there and with the broker away."""

    def run(self, make_broker: MakeBroker, tmp_path: Path, deaths: int) -> None:
        chance = random.Random(deaths)
        broker = make_broker(_PERSISTENT)
        directory = tmp_path / "agent"
        directory.mkdir()
        with DurableSubscriber(broker.port, TOPICS.event) as subscriber:
            broker.stop()
            subscriber.wait_detached()
            broker.start()
            for death in range(deaths):
                subscriber.wait_attached()
                with self.agent(broker.port, directory) as agent:
                    before = len(subscriber.payloads)
                    wait_until(lambda before=before: len(subscriber.payloads) > before)  # type: ignore[misc]
                    time.sleep(chance.uniform(0, 0.1))
                    if death % 3 == 2:
                        broker.stop()
                        subscriber.wait_detached()
                        time.sleep(chance.uniform(0, 0.1))
                    agent.send_signal(signal.SIGKILL)
                    agent.wait()
                if death % 3 == 2:
                    broker.start()
            with self.agent(broker.port, directory) as agent:
                agent.send_signal(signal.SIGTERM)  # at once: it must still deliver what the others left
                agent.wait()
            sent = [int(line) for line in (directory / "ledger").read_text().splitlines()]
            with self.agent(broker.port, directory) as agent:
                time.sleep(1)
                agent.send_signal(signal.SIGTERM)
                agent.wait()
            time.sleep(0.2)
        check(subscriber.payloads, sent)

    @staticmethod
    @contextmanager
    def agent(port: int, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "tests.mqtt.fault_driver", str(port), str(directory)]
        root = Path(__file__).parents[2]
        with subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL) as process:
            ledger = directory / "ledger"
            size = ledger.stat().st_size if ledger.exists() else 0
            wait_until(lambda: ledger.exists() and ledger.stat().st_size > size)
            yield process

    def test_a_few_times(self, make_broker: MakeBroker, tmp_path: Path) -> None:
        self.run(make_broker, tmp_path, 3)  # the third with the broker away

    @pytest.mark.fault
    def test_forty_times(self, make_broker: MakeBroker, tmp_path: Path) -> None:
        self.run(make_broker, tmp_path, 40)


def test_a_broker_that_hangs_for_a_while(broker: Mosquitto, outbox: Outbox) -> None:
    with (
        Subscriber(HOST, broker.port, TOPICS.event) as subscriber,
        publishing(broker_config(broker.port), events=outbox) as publisher,
    ):
        for seq in range(1, 101):
            if seq == 30:
                broker.send(signal.SIGSTOP)
            if seq == 80:
                broker.send(signal.SIGCONT)
            publisher.publish_event(changed(seq))
            time.sleep(0.005)
        received = collect(subscriber, lambda message: b'"seq":100,' in message.payload)
    check([message.payload for message in received], list(range(1, 101)))


@pytest.mark.fault
def test_a_broker_that_hangs_longer_than_the_keepalive(broker: Mosquitto, outbox: Outbox) -> None:
    with (
        DurableSubscriber(broker.port, TOPICS.event) as subscriber,
        publishing(broker_config(broker.port, keepalive_s=5), events=outbox) as publisher,
    ):
        publisher.publish_event(changed(1))
        wait_until(lambda: publisher.status.queued_events == 0)
        broker.send(signal.SIGSTOP)
        for seq in range(2, 50):
            publisher.publish_event(changed(seq))
        wait_until(lambda: not publisher.status.connected, timeout_s=30)
        wait_until(lambda: publisher.status.outbox == "disk", timeout_s=30)
        broker.send(signal.SIGCONT)
        wait_until(lambda: publisher.status.queued_events == 0, timeout_s=30)
        wait_until(lambda: b'"seq":49,' in subscriber.payloads[-1])
    check(subscriber.payloads, list(range(1, 50)))


class TestRefused:
    """Events that the broker refuses wait, and are sent once it takes them."""

    def test_a_wrong_password(self, make_broker: MakeBroker, outbox: Outbox, tmp_path: Path) -> None:
        broker = make_broker(
            f"listener {{port}} {HOST}\nallow_anonymous false\npassword_file {passwords(tmp_path)}\n"
        )
        secret = tmp_path / "secret"
        secret.write_text("wrong")
        config = broker_config(broker.port, username="agent", password_file=secret)
        with publishing(config, wait=False, events=outbox) as publisher:
            for seq in (1, 2, 3):
                publisher.publish_event(changed(seq))
            wait_until(lambda: publisher.status.trouble is Trouble.CREDENTIALS)
            assert publisher.status.queued_events == 3
            with Subscriber(
                HOST, broker.port, TOPICS.event, username="agent", password="right"
            ) as subscriber:
                secret.write_text("right")
                received = collect(subscriber, lambda message: b'"seq":3,' in message.payload)
        check([message.payload for message in received], [1, 2, 3])

    def test_a_certificate_that_has_expired(
        self, make_broker: MakeBroker, outbox: Outbox, tmp_path: Path
    ) -> None:
        authority = Authority(tmp_path, "home-ca")
        port, plain = free_port(), free_port()
        files = authority.issue("server", expired=True)
        tls = f"listener {port} {HOST}\ncertfile {files.certificate}\nkeyfile {files.key}\n"
        broker = make_broker(f"{tls}listener {plain} {HOST}\n", port=port)
        config = broker_config(port, tls=TlsConfig(enabled=True, ca_file=authority.file))
        with publishing(config, wait=False, events=outbox) as publisher:
            publisher.publish_event(changed(1))
            wait_until(lambda: publisher.status.trouble is Trouble.TLS)
            assert "expired" in publisher.status.detail
            authority.issue("server")
            broker.stop()
            broker.start()
            wait_connected(publisher)
            wait_until(lambda: publisher.status.queued_events == 0)

    def test_events_that_the_access_list_forbids(
        self,
        make_broker: MakeBroker,
        outbox: Outbox,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        access = tmp_path / "acl"
        allowed = [f"topic readwrite {topic}" for topic in (TOPICS.state, TOPICS.availability)]
        access.write_text("\n".join([*allowed, f"topic read {TOPICS.event}", ""]))
        broker = make_broker(f"acl_file {access}\n")
        with (
            Subscriber(HOST, broker.port, "#") as subscriber,
            publishing(
                broker_config(broker.port), events=outbox, timing=Timing(refused_pause_s=0.2)
            ) as publisher,
        ):
            for seq in range(1, 31):
                publisher.publish_event(changed(seq))
            publisher.publish_state(samples.state(100))
            received = collect(subscriber, is_(TOPICS.state))
            time.sleep(1)
            assert publisher.status.queued_events == 30
            access.write_text("\n".join([*allowed, f"topic readwrite {TOPICS.event}", ""]))
            broker.send(signal.SIGHUP)
            received = collect(subscriber, lambda message: b'"seq":30,' in message.payload)
            wait_until(lambda: publisher.status.queued_events == 0)
        check([m.payload for m in received if m.topic == TOPICS.event], list(range(1, 31)))
        refusals = [r for r in caplog.records if "refused it: Not authorized" in r.getMessage()]
        assert len(refusals) == 1
        assert TOPICS.event in refusals[0].getMessage()

    def test_a_message_larger_than_the_broker_says_it_takes(
        self, make_broker: MakeBroker, outbox: Outbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        broker = make_broker("max_packet_size 1000\n")
        with (
            Subscriber(HOST, broker.port, "#") as subscriber,
            publishing(broker_config(broker.port), events=outbox) as publisher,
        ):
            publisher.publish_info(samples.info())
            publisher.publish_event(changed(1))
            collect(subscriber, is_(TOPICS.event))
            assert publisher.status.reconnects == 0
            assert publisher.status.dropped == 1
        assert f"{TOPICS.info} could not be published: it is larger than the broker takes" in caplog.text

    def test_a_message_that_ends_the_connection_is_given_up(
        self, make_broker: MakeBroker, outbox: Outbox
    ) -> None:
        broker = make_broker("max_packet_size 20000\n")
        config = broker_config(broker.port, protocol="3.1.1")
        with publishing(config, events=outbox) as publisher:
            for lost in range(1, 4):
                publisher.publish_image(b"x" * 50_000)
                wait_until(lambda lost=lost: publisher.status.reconnects >= lost)  # type: ignore[misc]
            publisher.publish_image(b"x" * 50_000)
            publisher.publish_event(changed(1))
            wait_until(lambda: publisher.status.queued_events == 0)
            assert publisher.status.reconnects == 3
            assert publisher.status.dropped == 1


def test_a_slow_broker_costs_states_but_no_events(broker: Mosquitto, outbox: Outbox) -> None:
    count = 300
    with (
        Subscriber(HOST, broker.port, "#") as subscriber,
        slow_road(broker.port, bytes_per_s=40_000) as port,
        publishing(broker_config(port), events=outbox) as publisher,
    ):
        for seq in range(1, count + 1):
            publisher.publish_state(samples.state(seq))
            if seq % 10 == 0:
                publisher.publish_event(changed(seq))
            time.sleep(0.002)
        messages = collect(
            subscriber, lambda m: m.topic == TOPICS.event and b'"seq":%d,' % count in m.payload, 30
        )
        states = [json.loads(m.payload)["seq"] for m in messages if m.topic == TOPICS.state]
        assert states == sorted(set(states))
        assert states[-1] == count
        assert publisher.status.dropped == count - len(states) > 0
    check([m.payload for m in messages if m.topic == TOPICS.event], list(range(10, count + 1, 10)))


@contextmanager
def slow_road(port: int, bytes_per_s: int) -> Iterator[int]:
    """A port that leads to the broker's, through a line that carries so much and no more."""
    with socket.create_server((HOST, 0)) as entrance:
        entrance.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def carry() -> None:
            with suppress(OSError):
                near, _ = entrance.accept()
                far = socket.create_connection((HOST, port))
                threading.Thread(target=copy, args=(far, near, 1_000_000), daemon=True).start()
                copy(near, far, bytes_per_s)

        def copy(source: socket.socket, sink: socket.socket, rate: int) -> None:
            with suppress(OSError):
                while data := source.recv(1024):
                    sink.sendall(data)
                    time.sleep(len(data) / rate)

        threading.Thread(target=carry, daemon=True).start()
        yield entrance.getsockname()[1]
