"""Sends during one connection, in order: the greeting, the mailbox, the events, the goodbye."""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Sequence

from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.payloads import encode
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.mqtt.events.queue import EventQueue
from edge_agent.mqtt.mailbox import Lane, Mailbox
from edge_agent.mqtt.wire.connection import Ack, Connection
from edge_agent.mqtt.wire.size_limit import SizeLimit
from edge_agent.mqtt.wire.topic_limit import TopicLimit
from edge_agent.system.clock import Clock
from edge_agent.system.log import RepeatedError

ONLINE = b"online"
OFFLINE = b"offline"

# In this order, and the events between the two: what others ask for must not hold them up.
_BEFORE_EVENTS = (Lane.INFO, Lane.STATE, Lane.HEALTH)
_AFTER_EVENTS = (Lane.REPLY,)
_UNASSURED = (Lane.EVENT_IMAGE_INFO, Lane.EVENT_IMAGE, Lane.PREDICTION, Lane.IMAGE)
_NEVER_SENDABLE = frozenset({0x95, 0x99})  # packet too large, payload format invalid
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Counters:
    """Counts since the start, over all connections."""

    published: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class SessionState:
    """Handed from one connection to the next: the messages that wait, and what was learned."""

    topics: Topics
    mailbox: Mailbox
    events: EventQueue
    counters: Counters
    errors: RepeatedError
    size_limit: SizeLimit
    topic_limit: TopicLimit
    refused_pause_s: float
    """How long to wait before an event that the broker has refused is tried again."""
    one_by_one: bool
    """Whether an event waits for the answer to the one before: a node that is cut off from its cluster can
    lose one, and take the next."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """A message on its way; `seq` is set for an event."""

    message: Message
    seq: int | None


class Session:
    """One connection from beginning to end; used by the publisher's thread."""

    def __init__(self, connection: Connection, state: SessionState, clock: Clock) -> None:
        self._connection = connection
        self._topics = state.topics
        self._mailbox = state.mailbox
        self._events = state.events
        self._counters = state.counters
        self._errors = state.errors
        self._size_limit = state.size_limit
        self._topic_limit = state.topic_limit
        self._to_subscribe: deque[tuple[str, bool]] = deque()
        self._subscribing: set[str] = set()
        self._clock = clock
        self._greeting: deque[Message] = deque()
        self._inflight: dict[int, _Sent] = {}
        self._last_seq = -1
        self._refused_pause_s = state.refused_pause_s
        self._one_by_one = state.one_by_one
        self._hold_until_s = 0.0
        self._is_refused = False

    @property
    def idle(self) -> bool:
        """Whether everything sent so far has been acknowledged."""
        return not self._inflight

    def subscribe(self, filters: Sequence[tuple[str, bool]]) -> None:
        """Queue subscriptions, which come before everything else; each with whether what is kept there is
        wanted."""
        self._to_subscribe.extend(filters)

    def subscribed(self, topic: str) -> None:
        """Note that the broker has answered a subscription."""
        self._subscribing.discard(topic)
        self._topic_limit.answered(topic)

    def greet(self, announcements: Sequence[Message]) -> None:
        """Queue what every connection begins with: announcements, then info, state, health, then `online`."""
        self._greeting.extend(announcements)
        self._mailbox.open()
        while (message := self._mailbox.take(_BEFORE_EVENTS)) is not None:
            self._greeting.append(message)
        self._greeting.append(Message(self._topics.availability, ONLINE, retain=True))

    def pump(self) -> None:
        """Send what waits, as much as the broker takes now. Raises BrokerConnectionError."""
        while self._may_send and self._send_next():
            pass
        while not self._connection.congested and (self._may_send or not self._is_careful):
            message = self._mailbox.take(_UNASSURED)
            if message is None:
                break
            self._send(dataclasses.replace(message, qos=1) if self._is_careful else message, None)

    @property
    def _is_careful(self) -> bool:
        """In MQTT 5 a broker says what it does not take."""
        return self._connection.protocol == "3.1.1" and self._topic_limit.is_careful

    @property
    def _may_send(self) -> bool:
        most = 1 if self._is_careful else self._connection.limits.inflight
        return len(self._inflight) + len(self._subscribing) < most

    def say_goodbye(self) -> None:
        """Send `offline`. Raises BrokerConnectionError."""
        self._send(Message(self._topics.availability, OFFLINE, retain=True), None)

    def acknowledged(self, ack: Ack) -> None:
        """Note the broker's answer."""
        sent = self._inflight.pop(ack.mid, None)
        if ack.refused and sent is not None:
            self._refused(sent, ack)
            return
        self._counters.published += 1
        if sent is None:
            return
        if sent.seq is not None:
            self._events.remove(sent.seq)
            self._is_refused = False
        self._topic_limit.answered(sent.message.topic)
        key = self._key(sent.message)
        if self._errors.failures(key):
            self._errors.recovered(key, f"{sent.message.topic} can be published again")

    def _send_next(self) -> bool:
        if self._to_subscribe:
            self._subscribe_to(*self._to_subscribe.popleft())
            return True
        if self._greeting:
            return self._send(self._greeting.popleft(), None)
        message = self._mailbox.take(_BEFORE_EVENTS)
        if message is not None:
            return self._send(message, None)
        changed = None if self._events_paused() else self._events.after(self._last_seq)
        if changed is not None and self._topic_limit.allows(self._topics.of(changed.region).event):
            self._last_seq = changed.seq
            return self._send(Message(self._topics.of(changed.region).event, encode(changed)), changed.seq)
        message = self._mailbox.take(_AFTER_EVENTS)
        return message is not None and self._send(message, None)

    def _events_paused(self) -> bool:
        """Whether to wait: while the broker refuses events, one at a time is tried, and not too often."""
        if self._clock.monotonic_s() < self._hold_until_s:
            return True
        return (self._one_by_one or self._is_refused) and any(
            sent.seq is not None for sent in self._inflight.values()
        )

    def _send(self, message: Message, seq: int | None) -> bool:
        if not (self._connection.fits(message) and self._size_limit.allows(message)):
            self._give_up(message, seq, f"it is larger than the broker takes ({len(message.payload)} bytes)")
            return True
        if not self._topic_limit.allows(message.topic):
            self._counters.refused += 1
            return True
        mid = self._connection.send(message)
        self._size_limit.sent(message)
        if not self._size_limit.is_large(message):
            self._note_sent(message.topic)
        if seq is not None or min(message.qos, self._connection.limits.qos):
            self._inflight[mid] = _Sent(message, seq)
        return True

    def _subscribe_to(self, topic: str, retained: bool) -> None:
        if self._topic_limit.allows(topic):
            self._connection.subscribe(topic, retained=retained)
            self._subscribing.add(topic)
            self._note_sent(topic)

    def _note_sent(self, topic: str) -> None:
        if self._connection.protocol == "3.1.1":
            self._topic_limit.sent(topic)

    def _refused(self, sent: _Sent, ack: Ack) -> None:
        """Keep an event that may be taken later (an access list can be mended), and those behind it."""
        if sent.seq is None or ack.refused in _NEVER_SENDABLE:
            self._give_up(sent.message, sent.seq, f"the broker refused it: {ack.reason}")
            return
        self._is_refused = True
        self._last_seq = min(self._last_seq, sent.seq - 1)
        self._hold_until_s = self._clock.monotonic_s() + self._refused_pause_s
        self._report(sent.message, f"the broker refused it: {ack.reason}; events wait and are tried again")

    def _give_up(self, message: Message, seq: int | None, reason: str) -> None:
        self._counters.refused += 1
        if seq is not None:
            self._events.remove(seq)
        self._report(message, reason)

    def _report(self, message: Message, reason: str) -> None:
        self._errors.report(self._key(message), f"{message.topic} could not be published: {reason}")

    def _key(self, message: Message) -> str:
        """What the log counts troubles under; the topics that requesters choose are without number."""
        is_own = message.retain or message.topic.startswith(f"{self._topics.root}/")
        return message.topic if is_own else "answers"
