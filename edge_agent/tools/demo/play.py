"""One demo: the real daemon as a child, bundled pictures as its camera, a real subscriber watching."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import yaml

from edge_agent.errors import EdgeAgentError
from edge_agent.mqtt.contract.message import Incoming
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.system.child import python_module
from edge_agent.system.text import printable
from edge_agent.tools.demo.subscriber import Subscriber

BASE_TOPIC = "edge_agent"
DEVICE_ID = "demo"
BUDGET_MB = 4096  # the demo shows how much the agent takes, and holds it to no budget
_SILENCE_S = 60.0
_POLL_S = 0.5
_STOP_S = 5.0


class DemoError(EdgeAgentError):
    """The demo's agent fell silent."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the demo publishes."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    protocol: str = "auto"
    """`3.1.1` for a broker that speaks nothing newer: finding that out takes the agent ten seconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The `state` that the subscriber received for one picture."""

    picture: str
    label: str
    score: float
    top: tuple[str, ...]
    infer_ms: float


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """How a demo went."""

    exit_code: int
    answers: tuple[Answer, ...]
    engine: str
    rss_mb: float | None
    """The agent's resident memory, from its `health`; None when none arrived."""
    said_goodbye: bool
    """Whether the last `availability` was `offline`."""


def topics() -> Topics:
    """The demo's own topics."""
    return Topics(BASE_TOPIC, DEVICE_ID)


def settings(model: Path, pictures: Path, broker: Broker) -> dict[str, Any]:
    """The configuration that the demo's agent runs with."""
    return {
        "device_id": DEVICE_ID,
        "source": {"type": "folder", "fps": 0, "folder": {"path": str(pictures), "loop": False}},
        "model": {"path": str(model)},
        "memory": {"budget_mb": BUDGET_MB},
        # Each picture is a scene of its own: there is nothing to stabilise.
        "stabilizer": {"window": 1, "votes": 1, "threshold": 0.0, "hysteresis": 0.0},
        "publish": {"health_interval_s": 1},
        "mqtt": {
            "host": broker.host,
            "port": broker.port,
            "username": broker.username,
            "password": broker.password,
            "protocol": broker.protocol,
            "base_topic": BASE_TOPIC,
        },
        "log": {"level": "warning", "format": "plain"},
    }


def play(model: Path, pictures: Path, names: list[str], broker: Broker, out: TextIO) -> DemoOutcome:
    """Run the agent over the pictures, printing each label as the subscriber receives it.

    `names` are the pictures in the order in which the folder source plays them. Raises EdgeAgentError when
    the broker takes no subscriber, or the agent falls silent.
    """
    watching = Subscriber(
        broker.host, broker.port, f"{topics().root}/#", username=broker.username, password=broker.password
    )
    with tempfile.TemporaryDirectory() as folder, watching as subscriber:
        config = Path(folder) / "edge-agent.yaml"
        config.write_text(yaml.safe_dump(settings(model, pictures, broker), sort_keys=False))
        with _agent(config, Path(folder)) as agent:
            return _watch(agent, subscriber, names, out)


@contextmanager
def _agent(config: Path, state: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = python_module("edge_agent", "run", "--config", str(config))
    with subprocess.Popen(command, env=_environment(state)) as agent:
        try:
            yield agent
        finally:
            _end(agent)


def _environment(state: Path) -> dict[str, str]:
    """The demo leaves nothing behind in the user's own state folder."""
    return os.environ | {"STATE_DIRECTORY": str(state), "RUNTIME_DIRECTORY": str(state)}


def _end(agent: subprocess.Popen[bytes]) -> None:
    if agent.poll() is None:
        agent.send_signal(signal.SIGTERM)
    try:
        agent.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        agent.kill()


class _Watcher:
    """Collects the messages that the subscriber receives, and prints each new picture's label."""

    def __init__(self, names: list[str], out: TextIO) -> None:
        self._names = names
        self._out = out
        self.answers: list[Answer] = []
        self.engine = ""
        self.rss_mb: float | None = None
        self.availability = ""

    def take(self, message: Incoming) -> None:
        """Note one message, unless an earlier demo left it retained."""
        if message.retained or not message.payload:
            return
        match message.topic.rpartition("/")[2]:
            case "state":
                self._state(json.loads(message.payload))
            case "health":
                self.rss_mb = json.loads(message.payload)["memory"]["rss_mb"]
            case "availability":
                self.availability = message.payload.decode()

    def _state(self, state: dict[str, Any]) -> None:
        number = state["frame"]["id"]
        answer = Answer(
            picture=self._names[number - 1] if number <= len(self._names) else f"frame {number}",
            label=state["label"],
            score=state["score"],
            top=tuple(entry["label"] for entry in state["top"]),
            infer_ms=state["latency_ms"]["infer"],
        )
        self.engine = f"{state['model']['engine']} {state['model']['precision']}"
        self.answers.append(answer)
        others = printable(", ".join(answer.top[1:]))
        print(
            f"  {printable(answer.picture):<20} {printable(answer.label):<20} {answer.score:6.1%}"
            f" {answer.infer_ms:7.0f} ms   ({others})",
            file=self._out,
            flush=True,
        )


def _watch(
    agent: subprocess.Popen[bytes], subscriber: Subscriber, names: list[str], out: TextIO
) -> DemoOutcome:
    watcher = _Watcher(names, out)
    silent_since_s = time.monotonic()
    while watcher.availability != "offline":
        message = subscriber.next(_POLL_S)
        if message is not None:
            watcher.take(message)
            silent_since_s = time.monotonic()
        elif agent.poll() is not None:
            break  # it has ended, and nothing more arrives
        elif time.monotonic() - silent_since_s > _SILENCE_S:
            raise DemoError(f"nothing was received for {_SILENCE_S:.0f} s")
    code = agent.wait(_STOP_S)
    return DemoOutcome(
        code, tuple(watcher.answers), watcher.engine, watcher.rss_mb, watcher.availability == "offline"
    )
