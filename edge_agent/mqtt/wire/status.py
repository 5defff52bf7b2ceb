"""The state of the broker connection, in words for the log, `doctor` and the service's status line."""

from __future__ import annotations

import enum

from edge_agent.errors import BrokerError
from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.payloads import BrokerLack, Lack, MqttHealth, OutboxPlace
from edge_agent.system.text import printable

_LONGEST_DETAIL = 500


class Trouble(enum.StrEnum):
    """Why there is no connection; each kind has its own remedy."""

    DNS = "host name unknown"
    REFUSED = "nothing listens there"
    UNREACHABLE = "unreachable"
    SILENT = "no answer"
    CLOSED = "connection closed at once"
    TLS = "TLS failure"
    CREDENTIALS = "credentials refused"
    PROTOCOL = "MQTT version refused"
    IDENTITY = "client id refused"
    REJECTED = "connection rejected"
    WEBSOCKET = "websocket refused"
    GARBLED = "no MQTT"
    TOO_LARGE = "packet too large"
    NO_RETAIN = "no retained messages"
    NO_QOS = "no QoS 1"
    LOST = "connection lost"
    LOCAL = "local file unusable"


REMEDIES = {
    Trouble.DNS: "check mqtt.host (or mqtt.hosts) and this machine's DNS",
    Trouble.REFUSED: "check that the broker runs, and mqtt.port",
    Trouble.UNREACHABLE: "check the network, mqtt.host and any firewall",
    Trouble.SILENT: "check that the broker is not stuck, and that mqtt.port is the broker's",
    Trouble.CLOSED: "check mqtt.port, mqtt.tls.enabled, mqtt.transport and the broker's log",
    Trouble.TLS: "check mqtt.tls, the broker's certificate and this machine's clock",
    Trouble.CREDENTIALS: "check mqtt.username and mqtt.password_file",
    Trouble.PROTOCOL: "set mqtt.protocol to auto",
    Trouble.IDENTITY: "give every device its own device_id (or mqtt.client_id)",
    Trouble.REJECTED: "see the broker's log",
    Trouble.WEBSOCKET: "check mqtt.websocket_path, mqtt.port, and what a proxy before the broker says",
    Trouble.GARBLED: "check mqtt.port and mqtt.transport",
    Trouble.TOO_LARGE: "see who publishes on the agent's request topics",
    Trouble.NO_RETAIN: "the agent goes on without them",
    Trouble.NO_QOS: "the agent goes on without it",
    Trouble.LOST: "see the broker's log; if it recurs, another client may use the same client id",
    Trouble.LOCAL: "check that the file exists, that the agent may read it, and what is in it",
}


_LOST_BY: dict[Lack, str] = {
    "retained messages": "whoever subscribes later has to wait for the next state, health and info, and does"
    " not see availability before it changes",
    "QoS 1": "an event that is on its way when the connection breaks is lost",
}


class BrokerConnectionError(BrokerError):
    """There is no connection, or no longer. `trouble` is the kind, `detail` the fact without the advice."""

    def __init__(self, trouble: Trouble, detail: str) -> None:
        detail = printable(detail, _LONGEST_DETAIL)  # it may quote what a server said
        super().__init__(f"{detail}; {REMEDIES[trouble]}")
        self.trouble = trouble
        self.detail = detail


def reason(error: Exception) -> str:
    """Return what the operating system says about an error, or else the error's own text."""
    return getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """The connection at one moment; the counts run since the start."""

    connected: bool = False
    broker: str = ""
    """Host and port of the broker while connected, else empty."""
    protocol: str = ""
    """`5` or `3.1.1` while connected, else empty."""
    trouble: Trouble | None = None
    """Why it is not connected, or was lost last; None before the first attempt and while connected."""
    detail: str = ""
    """A sentence about that trouble, with host and port."""
    reconnects: int = 0
    published: int = 0
    """Messages that the broker acknowledged, or that were sent without asking for that."""
    dropped: int = 0
    queued_events: int = 0
    dropped_events: int = 0
    outbox: OutboxPlace = "memory"
    lacks: tuple[Lack, ...] = ()
    """What the broker does not offer."""

    @property
    def summary(self) -> str:
        """A few words: `connected`, `credentials refused`, `unreachable`, `connecting`."""
        if self.connected:
            return "connected"
        return str(self.trouble) if self.trouble else "connecting"

    @property
    def losses(self) -> tuple[BrokerLack, ...]:
        """What the broker does not offer, each with what is lost by it."""
        return tuple(BrokerLack(lack, _LOST_BY[lack]) for lack in self.lacks)

    def health(self) -> MqttHealth:
        """Return the same for topic `health`."""
        return MqttHealth(
            connected=self.connected,
            broker=self.broker,
            protocol=self.protocol,
            published=self.published,
            dropped=self.dropped,
            queued_events=self.queued_events,
            dropped_events=self.dropped_events,
            outbox=self.outbox,
            reconnects=self.reconnects,
            lacks=self.lacks,
            last_error=self.detail,
        )
