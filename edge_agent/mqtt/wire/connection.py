"""One connection to a broker, from the first packet to the last, on paho's external-loop interface."""

from __future__ import annotations

import dataclasses
import logging
import os
import select
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.config.schema import MqttConfig
from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.wire.credentials import address, password, port, tls_context
from edge_agent.mqtt.wire.guarded import MAX_PACKET_BYTES, GuardedClient
from edge_agent.mqtt.wire.status import BrokerConnectionError, Trouble, reason
from edge_agent.system.clock import Clock
from edge_agent.system.lookup import Lookup
from edge_agent.system.text import printable
from edge_agent.system.wake import Wake

MqttVersion = Literal["5", "3.1.1"]

_LOG = logging.getLogger(__name__)

MAX_INFLIGHT = 20
"""Messages that may wait for the broker's acknowledgement at one time."""

_NO_RETAINED = 2  # MQTT 5 retain handling: do not send what was waiting
_TROUBLE_BY_REASON = {
    132: Trouble.PROTOCOL,
    133: Trouble.IDENTITY,
    134: Trouble.CREDENTIALS,
    135: Trouble.CREDENTIALS,
    138: Trouble.CREDENTIALS,  # banned
    140: Trouble.CREDENTIALS,  # bad authentication method
    142: Trouble.IDENTITY,  # session taken over
    154: Trouble.NO_RETAIN,
    155: Trouble.NO_QOS,
}


@dataclass(frozen=True, slots=True)
class Ack:
    """A message has been sent (QoS 0), or the broker has answered it (QoS 1)."""

    mid: int
    refused: int
    """The MQTT 5 reason code where the broker did not accept it, else 0."""
    reason: str


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The broker has refused a subscription."""

    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker has accepted a subscription."""

    topic: str


Arrival = Ack | Incoming | Subscribed | SubscriptionRefused


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """The limits that the broker sets for this connection."""

    inflight: int = MAX_INFLIGHT
    packet_bytes: int | None = None
    retain: bool = True
    """Whether it keeps the newest message of a topic for those who subscribe later."""
    qos: Literal[0, 1] = 1
    """The highest QoS that it takes."""

    def adapt(self, message: Message) -> Message:
        """Return the message as this broker takes it."""
        return dataclasses.replace(
            message, qos=min(message.qos, self.qos), retain=message.retain and self.retain
        )


class Connection:
    """Used by one thread: `open`, then `step` repeatedly, then `close`."""

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        protocol: MqttVersion,
        *,
        will: Message | None = None,
        limits: BrokerLimits = BrokerLimits(),
        environment: Mapping[str, str] = os.environ,
        lookup: Lookup | None = None,
    ) -> None:
        """The broker publishes `will` if this client vanishes. `limits` is what is known of the broker.

        `lookup` finds its addresses; whoever connects again and again hands in the same one.

        Raises BrokerConnectionError (LOCAL) when a file of the configuration cannot be read.
        """
        self.protocol = protocol
        self.limits = limits
        self._config = config
        self._lookup = lookup or Lookup()
        self._subscribing: dict[int | None, str] = {}
        self._arrived: list[Arrival] = []
        self._connack: ReasonCode | None = None
        self._goodbye: ReasonCode | None = None
        self._socket_error = ""
        self._client = self._make_client(client_id, environment)
        if will is not None:
            will = limits.adapt(will)
            self._client.will_set(will.topic, will.payload, will.qos, will.retain)

    @property
    def address(self) -> str:
        return address(self._config)

    def open(
        self,
        clock: Clock,
        *,
        answer_timeout_s: float = 10.0,
        wake: Wake | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Connect, and wait until the broker has accepted the connection.

        Takes at most `answer_timeout_s`, whatever is under way. Ends early when the broker's answer is
        awaited, `wake` is rung and `cancelled` returns true. Raises BrokerConnectionError.
        """
        deadline_s = clock.monotonic_s() + answer_timeout_s

        def left_s() -> float:
            left_s = deadline_s - clock.monotonic_s()
            if left_s <= 0:
                raise TimeoutError
            return left_s

        try:
            self._client.connect_in_time(
                self._config.host, port(self._config), self._config.keepalive_s, left_s, self._lookup
            )
            while not self._accepted:
                remaining_s = left_s()
                if cancelled():
                    raise TimeoutError
                self._arrived += self.step(remaining_s, wake)
        except BrokerConnectionError:
            raise
        except Exception as error:  # paho does not expect everything that a server can answer
            self.close(goodbye=False)
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> BrokerConnectionError:
        """What an error while connecting means."""
        where = self.address
        if status := self._client.http_status:
            path = self._config.websocket_path
            return BrokerConnectionError(
                Trouble.WEBSOCKET,
                f"{where} answers to the websocket's handshake on {path} with HTTP status {status}",
            )
        if self._client.got_too_much:
            return self._connection_error()
        if isinstance(error, TimeoutError) and self._client.is_reached:
            return BrokerConnectionError(
                Trouble.SILENT, f"{where} accepts connections but does not answer as an MQTT broker"
            )
        if isinstance(error, ConnectionError) and self._client.is_reached:
            return self._connection_error()
        return BrokerConnectionError(*explain(error, where))

    @property
    def _accepted(self) -> bool:
        return self._connack is not None and not self._connack.is_failure

    def step(self, timeout_s: float, wake: Wake | None = None) -> list[Arrival]:
        """Wait for traffic or for `wake`, at most `timeout_s`; returns what has arrived.

        Raises BrokerConnectionError when the connection has ended.
        """
        sock: Any = self._client.socket()
        if sock is None:
            raise self._connection_error()
        pending = bool(sock.pending()) if hasattr(sock, "pending") else False
        reads = [sock] if wake is None else [sock, wake.fd]
        writes = [sock] if self._client.want_write() else []
        wait_s = 0 if pending or self._arrived else timeout_s
        readable, writable, _ = select.select(reads, writes, [], wait_s)
        if wake is not None:
            wake.clear()
        if pending or sock in readable:
            self._check(self._read())
        if sock in writable:
            self._check(self._client.loop_write())
        self._check(self._client.loop_misc())
        arrived, self._arrived = self._arrived, []
        return arrived

    def subscribe(self, *filters: str, retained: bool = False) -> None:
        """Subscribe with QoS 1; with MQTT 5, without the retained messages unless `retained`."""
        for topic in filters:
            if self.protocol == "5" and not retained:
                options = SubscribeOptions(qos=1, retainHandling=_NO_RETAINED)
                _, mid = self._client.subscribe(topic, options=options)
            else:
                _, mid = self._client.subscribe(topic, qos=1)
            self._subscribing[mid] = topic

    def send(self, message: Message) -> int:
        """Send a message, or leave it to the next `step`; returns the id that its Ack will have.

        It is sent as the broker's limits have it. Raises BrokerConnectionError.
        """
        message = self.limits.adapt(message)
        properties = None
        if self.protocol == "5" and message.correlation is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = message.correlation
        sent = self._client.publish(
            message.topic, message.payload, message.qos, message.retain, properties=properties
        )
        if self._client.socket() is None:
            raise self._connection_error()
        return sent.mid

    def fits(self, message: Message) -> bool:
        """Whether the broker takes packets of that size; true where it has not said."""
        if self.limits.packet_bytes is None:
            return True
        overhead = 16 + len(message.topic.encode()) + len(message.correlation or b"")
        return overhead + len(message.payload) <= self.limits.packet_bytes

    @property
    def congested(self) -> bool:
        """Whether packets wait for the network to take them."""
        return self._client.want_write()

    def close(self, *, goodbye: bool) -> None:
        """End the connection: in good order with `goodbye`, else so that the broker publishes the will."""
        if goodbye and self._client.socket() is not None:
            self._client.disconnect()
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    def _make_client(self, client_id: str, environment: Mapping[str, str]) -> GuardedClient:
        config = self._config
        is_5 = self.protocol == "5"
        client = GuardedClient(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if is_5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if is_5 else MQTTProtocolVersion.MQTTv311,
            transport=config.transport,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(MAX_INFLIGHT)
        client.max_queued_messages_set(MAX_INFLIGHT)
        secret = password(config, environment)
        if config.username or secret:
            client.username_pw_set(config.username, secret or None)
        if config.tls.enabled:
            client.tls_set_context(tls_context(config.tls))
        if config.transport == "websockets":
            client.ws_set_options(path=config.websocket_path)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_log = self._on_log
        return client

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        self._connack = reason
        self.limits = BrokerLimits(
            inflight=min(MAX_INFLIGHT, getattr(properties, "ReceiveMaximum", MAX_INFLIGHT)),
            packet_bytes=getattr(properties, "MaximumPacketSize", None),
            retain=self.limits.retain and bool(getattr(properties, "RetainAvailable", 1)),
            qos=0 if self.limits.qos == 0 or getattr(properties, "MaximumQoS", 2) == 0 else 1,
        )

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._goodbye = reason

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        self._arrived.append(Ack(mid, reason.value if reason.is_failure else 0, str(reason)))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        properties = message.properties
        self._arrived.append(
            Incoming(
                topic=message.topic,
                payload=bytes(message.payload),
                retained=message.retain,
                response_topic=getattr(properties, "ResponseTopic", ""),
                correlation=getattr(properties, "CorrelationData", None),
            )
        )

    def _on_subscribe(
        self, _client: Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        topic = self._subscribing.pop(mid, "")
        self._arrived += [
            SubscriptionRefused(topic, printable(str(each))) if each.is_failure else Subscribed(topic)
            for each in reasons
        ]

    def _on_log(self, _client: Client, _data: Any, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:  # the only place where paho passes on the error of the socket
            self._socket_error = text

    def _read(self) -> MQTTErrorCode:
        """Raises BrokerConnectionError for what is no MQTT: paho raises all kinds of errors then."""
        try:
            return self._client.loop_read()
        except Exception as error:
            _LOG.debug("paho cannot read a packet", exc_info=True)
            raise BrokerConnectionError(
                Trouble.GARBLED, f"{self.address} sent a packet that is no MQTT ({type(error).__name__})"
            ) from error

    def _check(self, code: MQTTErrorCode) -> None:
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or self._client.socket() is None:
            raise self._connection_error()

    def _connection_error(self) -> BrokerConnectionError:
        where = self.address
        if self._client.got_too_much:
            return BrokerConnectionError(
                Trouble.TOO_LARGE, f"{where} sent a packet of more than {MAX_PACKET_BYTES // 1024} kB"
            )
        if self._connack is not None and self._connack.is_failure:
            trouble = _TROUBLE_BY_REASON.get(self._connack.value, Trouble.REJECTED)
            return BrokerConnectionError(
                trouble, f"the broker at {where} refused the connection: {self._connack}"
            )
        if self._goodbye is not None:
            trouble = _TROUBLE_BY_REASON.get(self._goodbye.value, Trouble.LOST)
            return BrokerConnectionError(
                trouble, f"the broker at {where} ended the connection: {self._goodbye}"
            )
        if "[SSL" in self._socket_error:
            said = self._socket_error.partition("[")[2]
            return BrokerConnectionError(Trouble.TLS, f"TLS with {where} failed: [{said}")
        if self._connack is None:
            return BrokerConnectionError(
                Trouble.CLOSED, f"{where} closed the connection instead of answering"
            )
        return BrokerConnectionError(Trouble.LOST, f"the connection to {where} was lost")


def _explain_tls(error: Exception, where: str) -> str | None:
    loaded: Any = sys.modules.get("ssl")
    if loaded is None or not isinstance(error, loaded.SSLError):
        return None
    if isinstance(error, loaded.SSLCertVerificationError):
        return f"the certificate of {where} is not valid: {error.verify_message}"
    return f"TLS with {where} failed: {reason(error)}"


def explain(error: Exception, where: str) -> tuple[Trouble, str]:
    """Return the kind of trouble that an error while connecting is, and a sentence about it."""
    if (of_tls := _explain_tls(error, where)) is not None:
        return Trouble.TLS, of_tls
    match error:
        case socket.gaierror() | UnicodeError():
            return Trouble.DNS, f"{where}: {reason(error)}"
        case ConnectionRefusedError():
            return Trouble.REFUSED, f"nothing listens on {where}"
        case TimeoutError():
            return Trouble.UNREACHABLE, f"{where} does not answer"
        case ConnectionError():
            return Trouble.SILENT, f"{where}: {reason(error)}"
        case OSError():
            return Trouble.UNREACHABLE, f"{where}: {reason(error)}"
        case _:
            return Trouble.GARBLED, f"{where}: {reason(error)}"
