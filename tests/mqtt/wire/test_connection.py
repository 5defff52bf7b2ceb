"""One connection: what it is refused for, in words, and that TLS is always checked."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.config.schema import MqttConfig, TlsConfig
from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.wire.connection import Connection, MqttVersion, SubscriptionRefused
from edge_agent.mqtt.wire.status import BrokerConnectionError, Trouble
from edge_agent.system.clock import SystemClock
from edge_agent.system.secret import Secret
from edge_agent.tools.demo.broker import embedded_broker
from tests.mqtt.brokers import HOST, Mosquitto, free_port
from tests.mqtt.helpers import connected, passwords
from tests.mqtt.samples import broker_config
from tests.mqtt.wire.certificates import Authority

MakeBroker = Callable[..., Mosquitto]


def trouble_of(
    config: MqttConfig, protocol: MqttVersion = "5", answer_timeout_s: float = 5.0
) -> tuple[Trouble, str]:
    with pytest.raises(BrokerConnectionError) as raised, connected(config, protocol, answer_timeout_s):
        pass
    return raised.value.trouble, str(raised.value)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_message_is_acknowledged(broker: Mosquitto, protocol: MqttVersion) -> None:
    with connected(broker_config(broker.port), protocol) as connection:
        mid = connection.send(Message("a/b", b"x"))
        acks = connection.step(5)
        while not acks:
            acks = connection.step(5)
        assert [(ack.mid, ack.refused) for ack in acks] == [(mid, 0)]  # type: ignore[union-attr]


def test_a_port_where_nothing_listens() -> None:
    trouble, message = trouble_of(broker_config(free_port()))
    assert trouble is Trouble.REFUSED
    assert "nothing listens on 127.0.0.1:" in message
    assert "mqtt.port" in message


def test_a_host_that_does_not_exist() -> None:
    trouble, message = trouble_of(broker_config(1883, host="no-such-host.invalid"))
    assert trouble is Trouble.DNS
    assert "no-such-host.invalid:1883" in message


def test_a_host_name_that_cannot_be_one() -> None:
    assert trouble_of(broker_config(1883, host="a..b"))[0] is Trouble.DNS


def test_a_host_that_swallows_every_packet() -> None:
    with socket.socket() as full:
        # A listener whose queue is full lets the kernel ignore further attempts, as a firewall would.
        full.bind((HOST, 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex((HOST, port))
        trouble, _ = trouble_of(broker_config(port), answer_timeout_s=0.5)
        for each in waiting:
            each.close()
    assert trouble is Trouble.UNREACHABLE


def test_a_broker_that_hangs(broker: Mosquitto) -> None:
    broker.send(signal.SIGSTOP)
    trouble, message = trouble_of(broker_config(broker.port), answer_timeout_s=0.3)
    assert trouble is Trouble.SILENT
    assert "does not answer" in message


def scripted(answer: bytes) -> tuple[Trouble, str]:
    """The trouble with a server that takes our greeting, gives this answer and hangs up."""
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(5)
        connection = Connection(broker_config(server.getsockname()[1]), "test-client", "5", environment={})

        def answer_when_asked() -> bool:
            accepted, _ = server.accept()
            accepted.recv(1000)
            accepted.sendall(answer)
            accepted.close()
            return False

        def use_until_it_ends() -> None:
            connection.open(SystemClock(), cancelled=answer_when_asked)
            while True:
                connection.step(5)

        with pytest.raises(BrokerConnectionError) as raised:
            use_until_it_ends()
    return raised.value.trouble, raised.value.detail


def test_a_server_that_hangs_up() -> None:
    assert scripted(b"")[0] is Trouble.CLOSED


def test_a_server_that_speaks_something_else() -> None:
    assert scripted(b"HTTP/1.1 400 Bad Request\r\n\r\n")[0] is Trouble.CLOSED


def test_two_clients_with_one_id() -> None:
    accepted_then_taken_over = bytes.fromhex("20 03 00 00 00  e0 02 8e 00")
    trouble, detail = scripted(accepted_then_taken_over)
    assert trouble is Trouble.IDENTITY
    assert "Session taken over" in detail


def test_a_subscription_that_is_refused() -> None:
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(5)
        connection = Connection(broker_config(server.getsockname()[1]), "test-client", "5", environment={})
        accepted: list[socket.socket] = []

        def accept_once() -> bool:
            if not accepted:
                accepted.append(server.accept()[0])
                accepted[0].sendall(bytes.fromhex("20 03 00 00 00"))
            return False

        connection.open(SystemClock(), cancelled=accept_once)
        connection.subscribe("a/request/#")
        accepted[0].sendall(bytes.fromhex("90 04 00 01 00 87"))
        assert connection.step(5) == [SubscriptionRefused("a/request/#", "Not authorized")]
        connection.close(goodbye=False)
        accepted[0].close()


def test_a_broker_that_is_shutting_down() -> None:
    trouble, detail = scripted(bytes.fromhex("20 03 00 00 00  e0 02 8b 00"))
    assert trouble is Trouble.LOST
    assert "Server shutting down" in detail


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password(make_broker: MakeBroker, tmp_path: Path, protocol: MqttVersion) -> None:
    broker = make_broker(f"allow_anonymous false\npassword_file {passwords(tmp_path)}\n")
    wrong = broker_config(broker.port, username="agent", password=Secret("wrong"))
    trouble, message = trouble_of(wrong, protocol)
    assert trouble is Trouble.CREDENTIALS
    assert "mqtt.password_file" in message
    assert "wrong" not in message
    with connected(broker_config(broker.port, username="agent", password=Secret("right")), protocol):
        pass


def test_a_broker_that_asks_for_credentials_and_gets_none(make_broker: MakeBroker, tmp_path: Path) -> None:
    broker = make_broker(f"allow_anonymous false\npassword_file {passwords(tmp_path)}\n")
    assert trouble_of(broker_config(broker.port))[0] is Trouble.CREDENTIALS


def test_a_broker_that_knows_only_mqtt_3() -> None:
    with embedded_broker() as port:
        # amqtt takes an MQTT 5 greeting that has properties for an unfinished packet, and waits for its end.
        assert trouble_of(broker_config(port), "5", answer_timeout_s=1)[0] is Trouble.SILENT
        with connected(broker_config(port), "3.1.1"):
            pass


def test_websockets(make_broker: MakeBroker) -> None:
    port = free_port()
    plain = f"listener {free_port()} {HOST}\n"  # without one, mosquitto 2.0.11 does not start
    make_broker(f"{plain}listener {port} {HOST}\nprotocol websockets\n", port=port)
    with connected(broker_config(port, transport="websockets")) as connection:
        connection.send(Message("a", b"x" * 100_000))
        while not connection.step(5):
            pass
    assert trouble_of(broker_config(port, transport="tcp"))[0] is Trouble.CLOSED


def test_a_plain_broker_is_no_websocket(broker: Mosquitto) -> None:
    assert trouble_of(broker_config(broker.port, transport="websockets"))[0] is Trouble.CLOSED


class TestTls:
    """A broker with a certificate, and clients that trust it or do not."""

    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path, "home-ca")

    @staticmethod
    def serve(
        make_broker: MakeBroker, authority: Authority, config: str = "", **certificate: object
    ) -> Mosquitto:
        port = free_port()
        files = authority.issue("server", **certificate)  # type: ignore[arg-type]
        lines = f"listener {port} {HOST}\ncertfile {files.certificate}\nkeyfile {files.key}\n{config}"
        return make_broker(lines, port=port)

    def test_a_trusted_broker(self, make_broker: MakeBroker, authority: Authority) -> None:
        broker = self.serve(make_broker, authority)
        tls = TlsConfig(enabled=True, ca_file=authority.file)
        with connected(broker_config(broker.port, tls=tls)) as connection:
            connection.send(Message("a", b"x" * 100_000))
            while not connection.step(5):
                pass

    def test_an_expired_certificate(self, make_broker: MakeBroker, authority: Authority) -> None:
        broker = self.serve(make_broker, authority, expired=True)
        tls = TlsConfig(enabled=True, ca_file=authority.file)
        trouble, message = trouble_of(broker_config(broker.port, tls=tls))
        assert trouble is Trouble.TLS
        assert "expired" in message
        assert "clock" in message

    def test_a_certificate_for_another_host(self, make_broker: MakeBroker, authority: Authority) -> None:
        broker = self.serve(make_broker, authority, address="192.0.2.1")
        tls = TlsConfig(enabled=True, ca_file=authority.file)
        trouble, message = trouble_of(broker_config(broker.port, tls=tls))
        assert trouble is Trouble.TLS
        assert "not valid for '127.0.0.1'" in message

    def test_an_unknown_authority(
        self, make_broker: MakeBroker, authority: Authority, tmp_path: Path
    ) -> None:
        broker = self.serve(make_broker, authority)
        stranger = Authority(tmp_path, "other-ca")
        for tls in (TlsConfig(enabled=True, ca_file=stranger.file), TlsConfig(enabled=True)):
            assert trouble_of(broker_config(broker.port, tls=tls))[0] is Trouble.TLS

    def test_a_client_certificate(self, make_broker: MakeBroker, authority: Authority) -> None:
        broker = self.serve(
            make_broker,
            authority,
            f"cafile {authority.file}\nrequire_certificate true\nuse_identity_as_username true\n",
        )
        without = TlsConfig(enabled=True, ca_file=authority.file)
        assert trouble_of(broker_config(broker.port, tls=without))[0] in (Trouble.TLS, Trouble.CLOSED)
        mine = authority.issue("agent")
        with_one = TlsConfig(
            enabled=True, ca_file=authority.file, cert_file=mine.certificate, key_file=mine.key
        )
        with connected(broker_config(broker.port, tls=with_one)):
            pass

    def test_tls_to_a_plain_broker(self, broker: Mosquitto) -> None:
        assert trouble_of(broker_config(broker.port, tls=TlsConfig(enabled=True)))[0] in (
            Trouble.TLS,
            Trouble.CLOSED,
        )

    def test_a_plain_client_to_tls(self, make_broker: MakeBroker, authority: Authority) -> None:
        broker = self.serve(make_broker, authority)
        assert trouble_of(broker_config(broker.port))[0] is Trouble.CLOSED
