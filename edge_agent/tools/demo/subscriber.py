"""A subscriber, as a user would write one: it shows that a message has really been through the broker."""

from __future__ import annotations

import queue
from typing import Any, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.config.address import host_with_port
from edge_agent.errors import BrokerError
from edge_agent.mqtt.contract.message import Incoming

_ANSWER_TIMEOUT_S = 10.0


class Subscriber:
    """Receives what a broker forwards on the filter `topic`, with QoS 1; connected while the context is open.

    It shares no code with the agent's own connection, so that a fault there cannot hide itself: any other
    subscriber receives the same.
    """

    def __init__(self, host: str, port: int, topic: str, *, username: str = "", password: str = "") -> None:
        self._host, self._port, self._topic = host, port, topic
        self._messages: queue.SimpleQueue[Incoming] = queue.SimpleQueue()
        self._problems: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda _c, _d, _mid, reasons, _p: self._note(reasons[0])
        self._client.on_message = lambda _c, _d, message: self._messages.put(
            Incoming(message.topic, bytes(message.payload), message.retain)
        )
        if username:
            self._client.username_pw_set(username, password or None)

    def __enter__(self) -> Self:
        """Connect and subscribe. Raises BrokerError."""
        address = host_with_port(self._host, self._port)
        try:
            self._client.connect(self._host, self._port)
        except OSError as error:
            raise BrokerError(f"no broker at {address}: {error.strerror or error}") from error
        self._client.loop_start()
        try:
            problem = self._problems.get(timeout=_ANSWER_TIMEOUT_S)
        except queue.Empty:
            problem = "no answer"
        if problem:
            self.__exit__()
            raise BrokerError(f"the broker at {address} does not take a subscriber: {problem}")
        return self

    def __exit__(self, *_exception: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def next(self, timeout_s: float) -> Incoming | None:
        """The next message; None when none arrives in time."""
        try:
            return self._messages.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _on_connect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _p: Any) -> None:
        """Subscribe each time: paho reconnects on its own when the connection is lost."""
        if reason.is_failure:
            self._note(reason)
        else:
            self._client.subscribe(self._topic, qos=1)

    def _note(self, reason: ReasonCode) -> None:
        self._problems.put(str(reason) if reason.is_failure else "")
