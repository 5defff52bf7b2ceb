"""The publisher: one thread that keeps a broker connection and sends what the agent leaves for it."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import select
import threading
from collections.abc import Callable, Mapping, Sequence

from edge_agent.config.schema import MqttConfig
from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.contract.payloads import (
    EventImageInfo,
    Health,
    Info,
    LabelChanged,
    Lack,
    RawPrediction,
    State,
    encode,
)
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.mqtt.events.queue import EventQueue
from edge_agent.mqtt.mailbox import Lane, Mailbox
from edge_agent.mqtt.session import OFFLINE, Counters, Session, SessionState
from edge_agent.mqtt.wire.brokers import Brokers
from edge_agent.mqtt.wire.connection import Ack, BrokerLimits, Connection, Subscribed, SubscriptionRefused
from edge_agent.mqtt.wire.credentials import client_id
from edge_agent.mqtt.wire.size_limit import SizeLimit
from edge_agent.mqtt.wire.status import BrokerConnectionError, BrokerStatus, Trouble
from edge_agent.mqtt.wire.topic_limit import TopicLimit
from edge_agent.system.backoff import Backoff
from edge_agent.system.clock import Clock
from edge_agent.system.log import RepeatedError, kind_of, place_of, say, say_defect
from edge_agent.system.lookup import Lookup
from edge_agent.system.token_bucket import TokenBucket
from edge_agent.system.wake import Wake

_STEP_S = 1.0
_DEAF_S = 3600.0  # for so long nothing is subscribed to, after a message that was too large
_MOST_GROWTH = 4  # of the pauses, where there are several brokers
_BROKER = "broker"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter and its handler, which runs on the publisher's thread and must not block."""

    topic: str
    handler: Callable[[Incoming], None]
    per_minute: int = 6000
    """More messages than this are ignored."""
    retained: bool = False
    """Whether what the broker keeps there is wanted, too."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the publisher waits for what."""

    fresh_s: float = 120.0
    """A state or health older than this is not sent again after a reconnect."""
    answer_timeout_s: float = 10.0
    """A broker that takes longer to accept a connection is given up."""
    refused_pause_s: float = 10.0
    """Events that the broker refuses are tried again this often, one at a time."""
    stable_s: float = 5.0
    """A connection must last this long to count as recovered."""
    jitter: Callable[[], float] = random.random
    """Returns numbers in [0, 1), which spread many agents over the brokers, and their attempts to reconnect
    over the time."""


class Publisher:
    """Publishes what it is given, by the MQTT contract; connects, and reconnects forever.

    The `publish` methods never block, and never fail for lack of a broker: `state`, `health` and `info`
    are latest-wins, `prediction` and `image` need a connection, and events wait in the event queue. Only the
    publisher's own thread touches the network; a second one, which does nothing else, has the event queue
    write to disk what has waited for long.
    """

    def __init__(
        self,
        config: MqttConfig,
        topics: Topics,
        *,
        clock: Clock,
        events: EventQueue,
        announcements: Sequence[Message] = (),
        on_status: Callable[[BrokerStatus], None] = lambda _: None,
        timing: Timing = Timing(),
        environment: Mapping[str, str] = os.environ,
        lookup: Lookup | None = None,
    ) -> None:
        """`events` is where events wait; `announcements` are sent first on each connection. `on_status` is
        called, on the publisher's thread, when the connection comes or goes. `lookup` finds the broker's
        addresses; None asks the system.
        """
        self._topics = topics
        self._clock = clock
        self._events = events
        self._subscriptions: list[tuple[Subscription, TokenBucket]] = []
        self._deaf_until_s = 0.0
        self._stable_s = timing.stable_s
        self._announcements = announcements
        self._on_status = on_status
        self._mailbox = Mailbox(clock, timing.fresh_s)
        self._errors = RepeatedError(_LOG, clock.monotonic_s)
        self._brokers = Brokers(
            config,
            client_id(config, topics.device_id),
            clock,
            will=Message(topics.availability, OFFLINE, retain=True),
            environment=environment,
            answer_timeout_s=timing.answer_timeout_s,
            lookup=lookup,
            first=timing.jitter(),
        )
        self._backoff = Backoff(
            config.reconnect_min_s,
            longest_pause_s(config, len(self._brokers)),
            timing.jitter,
            each=len(self._brokers),
        )
        self._session_state = SessionState(
            topics,
            self._mailbox,
            events,
            Counters(),
            self._errors,
            SizeLimit(clock),
            TopicLimit(clock),
            timing.refused_pause_s,
            one_by_one=len(self._brokers) > 1,
        )
        self._status = BrokerStatus()
        self._connections = 0
        self._stopping = threading.Event()
        self._deadline_s = 0.0
        self._wake = Wake()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._tidying = threading.Thread(target=self._tidy, name="outbox", daemon=True)

    @property
    def status(self) -> BrokerStatus:
        """The connection at this moment; any thread may ask."""
        return dataclasses.replace(
            self._status,
            published=self._session_state.counters.published,
            dropped=self._session_state.counters.refused + self._mailbox.dropped,
            queued_events=len(self._events),
            dropped_events=self._events.dropped,
            outbox=self._events.place,
        )

    def listen(self, subscription: Subscription) -> None:
        """Add a subscription, which is made on each connection. Call it before `start`."""
        self._subscriptions.append((subscription, TokenBucket(subscription.per_minute, self._clock)))

    def start(self) -> None:
        """Start connecting, in the background."""
        self._tidying.start()
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Publish what waits, then `offline`, and disconnect.

        Returns after `timeout_s` at the latest, even if the broker hangs: it then publishes the last will.
        """
        self._deadline_s = self._clock.monotonic_s() + timeout_s
        self._stopping.set()
        self._wake.ring()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def publish_state(self, state: State) -> None:
        self._put(Lane.STATE, Message(self._topics.of(state.region).state, encode(state), retain=True))

    def publish_health(self, health: Health) -> None:
        self._put(Lane.HEALTH, Message(self._topics.health, encode(health), retain=True))

    def publish_info(self, info: Info) -> None:
        self._put(Lane.INFO, Message(self._topics.info, encode(info), retain=True))

    def publish_prediction(self, prediction: RawPrediction) -> None:
        topic = self._topics.of(prediction.region).prediction
        self._put(Lane.PREDICTION, Message(topic, encode(prediction), qos=0))

    def publish_image(self, jpeg: bytes) -> None:
        self._put(Lane.IMAGE, Message(self._topics.image, jpeg, qos=0))

    def publish_event_image(self, jpeg: bytes, info: EventImageInfo) -> None:
        """Publish the picture of an event, retained; after a reconnect the newest is sent again."""
        topics = self._topics.of(info.region)
        described = Message(topics.event_image_info, encode(info), qos=0, retain=True)
        self._put(Lane.EVENT_IMAGE_INFO, described)
        self._put(Lane.EVENT_IMAGE, Message(topics.event_image, jpeg, qos=0, retain=True))

    def forget(self, region: str) -> None:
        """Have the broker forget what it keeps of a region that is watched no more."""
        topics = self._topics.of(region)
        lanes = (Lane.STATE, Lane.EVENT_IMAGE, Lane.EVENT_IMAGE_INFO)
        for lane, topic in zip(lanes, topics.retained, strict=True):
            self._put(lane, Message(topic, b"", retain=True))

    def publish_event(self, changed: LabelChanged) -> None:
        """Queue an event: it stays in the event queue until the broker has acknowledged it."""
        self._events.put(changed)
        self._wake.ring()

    def publish(self, message: Message) -> None:
        """Publish any other message with QoS 1: an answer to a request, a discovery message."""
        self._put(Lane.REPLY, message)

    def announce(self, announcements: Sequence[Message]) -> None:
        """Send other announcements than before, now and first on each connection."""
        self._announcements = announcements
        for message in announcements:
            self.publish(message)

    def _put(self, lane: Lane, message: Message) -> None:
        self._mailbox.put(lane, message)
        self._wake.ring()

    def _tidy(self) -> None:
        """Have events written to disk in time, whatever the connection's thread waits for."""
        while not self._stopping.wait(_STEP_S):
            try:
                self._events.tick()
            except Exception:
                _LOG.exception("unexpected error in the outbox")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self._attempt():
                    self._pause(self._backoff.next_s())
            except Exception:
                # A defect here or in paho must not end publishing: the agent runs for months.
                _LOG.exception("unexpected error on the broker connection")
                self._stopping.wait(_STEP_S)

    def _attempt(self) -> bool:
        """Connect, and use the connection as long as it lasts; returns whether to try another at once."""
        try:
            self._use(self._brokers.dial(self._wake, self._stopping.is_set))
        except BrokerConnectionError as error:
            self._failed(error)
            return self._brokers.next(error.trouble)
        return False

    def _use(self, connection: Connection) -> None:
        """Send and receive until the publisher is stopped. Raises BrokerConnectionError if it ends before."""
        session = Session(connection, self._session_state, self._clock)
        since_s = self._clock.monotonic_s()
        try:
            filters = self._filters()
            session.subscribe(filters)
            session.greet(self._announcements)
            self._came(connection)
            again = [each for each in filters if each[1]] if len(self._brokers) > 1 else []
            while not self._stopping.is_set():
                self._step(connection, session, _STEP_S)
                if self._clock.monotonic_s() - since_s >= self._stable_s:
                    self._recovered(connection)
                    # A node of a cluster can pass over what changes just when somebody subscribes.
                    session.subscribe(again)
                    again = []
            self._finish(connection, session)
        except BrokerConnectionError as error:
            self._learn_from(error)
            raise
        finally:
            self._mailbox.close()
            connection.close(goodbye=False)
            self._status = dataclasses.replace(
                self._status, connected=False, broker="", protocol="", lacks=()
            )

    def _filters(self) -> list[tuple[str, bool]]:
        """What to subscribe to, each with whether what is kept there is wanted."""
        if self._clock.monotonic_s() < self._deaf_until_s:
            return []
        return [(each.topic, each.retained) for each, _ in self._subscriptions]

    def _learn_from(self, loss: BrokerConnectionError) -> None:
        """Find out what the broker does not take, where that is why the connection was lost."""
        self._brokers.learn(loss.trouble)
        self._session_state.size_limit.lost()
        if topic := self._session_state.topic_limit.lost():
            message = f"the broker hangs up after a message on {topic}, so it gets none there for now"
            self._errors.report(topic, f"{message}; see its access list, and which topics it takes")
        if loss.trouble is Trouble.TOO_LARGE:
            # It may be a retained one, which would come again with each subscription.
            self._deaf_until_s = self._clock.monotonic_s() + _DEAF_S
            self._errors.report("requests", "a message was too large: requests are ignored for an hour")

    def _step(self, connection: Connection, session: Session, timeout_s: float) -> None:
        session.pump()
        arrived = connection.step(timeout_s, self._wake)
        for item in arrived:
            match item:
                case Ack():
                    session.acknowledged(item)
                case Incoming():
                    self._deliver(item)
                case Subscribed():
                    session.subscribed(item.topic)
                case SubscriptionRefused():
                    session.subscribed(item.topic)
                    self._errors.report(
                        item.topic,
                        f"the broker does not let the agent subscribe to {item.topic}: {item.reason}",
                    )

    def _deliver(self, message: Incoming) -> None:
        for subscription, bucket in self._subscriptions:
            if _matches(subscription.topic, message.topic) and bucket.take():
                self._hand_over(message, subscription)

    def _hand_over(self, message: Incoming, subscription: Subscription) -> None:
        """Let a message be handled; whatever is wrong with it, it costs no connection."""
        try:
            subscription.handler(message)
        except Exception as error:
            failure = f"a message for {subscription.topic} has failed unexpectedly, with {kind_of(error)}"
            if self._errors.report("messages", f"{failure} at {place_of(error)}"):
                say_defect(_LOG, "this is where it has", error)

    def _finish(self, connection: Connection, session: Session) -> None:
        """Send what waits, in half of the time left, then `offline`; wait for the broker's answers."""
        now_s = self._clock.monotonic_s()
        self._until(connection, session, now_s + (self._deadline_s - now_s) / 2)
        session.say_goodbye()
        if self._until(connection, session, self._deadline_s):
            connection.close(goodbye=True)

    def _until(self, connection: Connection, session: Session, deadline_s: float) -> bool:
        """Step until everything is acknowledged; returns whether it was in time."""
        while True:
            session.pump()
            left_s = deadline_s - self._clock.monotonic_s()
            if session.idle or left_s <= 0:
                return session.idle
            self._step(connection, session, left_s)

    def _came(self, connection: Connection) -> None:
        self._connections += 1
        status = BrokerStatus(
            connected=True,
            broker=connection.address,
            protocol=connection.protocol,
            lacks=lacking(connection.limits),
        )
        self._change(status)
        for loss in status.losses:
            self._errors.report(loss.lacks, f"the broker takes no {loss.lacks}: {loss.lost}")
        if not self._errors.failures(_BROKER):
            say(
                _LOG,
                logging.INFO,
                "connected to the broker",
                address=connection.address,
                mqtt=connection.protocol,
            )

    def _recovered(self, connection: Connection) -> None:
        self._backoff.reset()
        self._errors.recovered(_BROKER, "connected to the broker again", address=connection.address)

    def _failed(self, error: BrokerConnectionError) -> None:
        if self._stopping.is_set():
            return
        self._errors.report(_BROKER, str(error))
        self._change(BrokerStatus(trouble=error.trouble, detail=error.detail))

    def _change(self, status: BrokerStatus) -> None:
        is_new = status.connected or status.trouble is not self._status.trouble
        self._status = dataclasses.replace(status, reconnects=max(self._connections - 1, 0))
        if is_new:
            self._on_status(self.status)

    def _pause(self, pause_s: float) -> None:
        """Wait before the next attempt; ends early when the publisher is stopped."""
        until_s = self._clock.monotonic_s() + pause_s
        while not self._stopping.is_set():
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0:
                return
            select.select([self._wake.fd], [], [], min(left_s, _STEP_S))
            self._wake.clear()


def longest_pause_s(config: MqttConfig, brokers: int) -> float:
    """Of several brokers one is mostly well, or soon will be: there the pauses stay short."""
    if brokers == 1:
        return config.reconnect_max_s
    return min(config.reconnect_max_s, _MOST_GROWTH * config.reconnect_min_s)


def lacking(limits: BrokerLimits) -> tuple[Lack, ...]:
    """What the broker does not offer."""
    lacks: list[Lack] = [] if limits.retain else ["retained messages"]
    return (*lacks, "QoS 1") if limits.qos == 0 else tuple(lacks)


def _matches(pattern: str, topic: str) -> bool:
    """Whether a topic filter covers a topic; no filter here has a `+`, or a `#` before its last level."""
    return topic.startswith(pattern[:-1]) if pattern.endswith("/#") else topic == pattern
