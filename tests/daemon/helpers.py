"""Waits for what a daemon publishes, and knows what is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from edge_agent.mqtt.contract.message import Incoming
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES
from edge_agent.tools.demo.subscriber import Subscriber
from tests.mqtt.brokers import collect

DEVICE = "porch"
RIGHT = {picture.name: picture.labels for picture in BUNDLED_PICTURES}
NAMES = sorted(RIGHT)
START_S = 60.0
PROMPT_S = 10.0  # what takes two seconds at most on an idle machine


def anything(_payload: Any) -> bool:
    return True


def of(topic: str, accept: Callable[[Any], bool] = anything) -> Callable[[Incoming], bool]:
    """Accepts a fresh message on that topic whose payload is accepted."""

    def is_it(message: Incoming) -> bool:
        if message.retained or message.topic != f"edge_agent/{DEVICE}/{topic}":
            return False
        is_text = topic == "availability"
        return accept(message.payload.decode() if is_text else json.loads(message.payload))

    return is_it


def payloads(messages: list[Incoming], topic: str) -> list[Any]:
    return [json.loads(message.payload) for message in messages if of(topic)(message)]


def receive(subscriber: Subscriber, topic: str, accept: Callable[[Any], bool] = anything) -> Any:
    """Wait for such a message; returns its payload."""
    last = collect(subscriber, of(topic, accept), START_S)[-1].payload
    return last.decode() if topic == "availability" else json.loads(last)
