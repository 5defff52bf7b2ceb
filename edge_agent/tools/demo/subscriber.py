"""A subscriber like any other on the network: what it prints has really been through the broker."""

from __future__ import annotations

import queue
from types import TracebackType
from typing import Any, Self

from edge_agent.errors import BrokerError
from edge_agent.mqtt.contract.message import Incoming


class Subscriber:
    """Receives what a broker forwards; a context manager, connected while it is open."""

    def __init__(
        self,
        host: str,
        port: int,
        topic: str,
        *,
        username: str = "",
        password: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        """Subscribes to the filter `topic` with QoS 1; `timeout_s` bounds connecting."""
        self._address = f"{host}:{port}"
        self._host = host
        self._port = port
        self._topic = topic
        self._timeout_s = timeout_s
        self._messages: queue.SimpleQueue[Incoming] = queue.SimpleQueue()
        self._subscribed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._client = self._make_client(username, password)

    def __enter__(self) -> Self:
        """Connect and subscribe. Raises BrokerError."""
        try:
            self._client.connect(self._host, self._port)
        except OSError as error:
            raise BrokerError(f"no broker at {self._address}: {error.strerror or error}") from error
        self._client.loop_start()
        try:
            problem = self._subscribed.get(timeout=self._timeout_s)
        except queue.Empty:
            problem = "no answer"
        if problem:
            self._close()
            raise BrokerError(f"the broker at {self._address} does not take a subscriber: {problem}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def next(self, timeout_s: float) -> Incoming | None:
        """The next message; None when none arrives in time."""
        try:
            return self._messages.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _make_client(self, username: str, password: str) -> Any:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2)
        if username:
            client.username_pw_set(username, password or None)

        def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            if reason.is_failure:
                self._subscribed.put(str(reason))
            else:
                client.subscribe(self._topic, qos=1)

        def on_subscribe(_client: Any, _data: Any, _mid: int, reasons: list[Any], _properties: Any) -> None:
            self._subscribed.put(str(reasons[0]) if reasons[0].is_failure else "")

        def on_message(_client: Any, _data: Any, message: Any) -> None:
            self._messages.put(Incoming(message.topic, bytes(message.payload), bool(message.retain)))

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_message = on_message
        return client
