"""A fleet as it runs: simulated devices and instances of `fleet watch` in processes of their own."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import nats
from nats.js.api import ConsumerConfig, DeliverPolicy

from edge_agent.mqtt.contract.message import Incoming
from edge_agent.tools.fleet.backbone import EVENTS_STREAM, MQTT_STREAM
from tests.mqtt.brokers import HOST, free_port, wait_until
from tests.mqtt.helpers import connected
from tests.mqtt.samples import broker_config
from tests.tools.fleet.cost import Cost, cost
from tests.tools.fleet.nats import Cluster, Node

_PER_PROCESS = 50


@dataclass(frozen=True, slots=True)
class Load:
    """How often each device publishes."""

    event_s: float = 10.0
    health_s: float = 15.0


USUAL = Load()


@contextmanager
def devices(
    directory: Path,
    cluster: Cluster,
    count: int,
    load: Load = USUAL,
    *,
    first: int = 0,
    within: Sequence[str] = (),
) -> Iterator[None]:
    """Simulated devices, from the number `first` on, in a few processes that are started by the command
    `within`; at the end all of their events are acknowledged."""
    directory.mkdir(exist_ok=True)
    running = [
        subprocess.Popen(
            [
                *within, sys.executable, "-m", "tests.tools.fleet.simulated", str(directory), str(begin),
                str(min(_PER_PROCESS, first + count - begin)), str(load.event_s), str(load.health_s),
                *cluster.hosts,
            ]
        )
        for begin in range(first, first + count, _PER_PROCESS)
    ]  # fmt: skip
    try:
        yield
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            assert process.wait(300) == 0
    finally:
        for process in running:
            process.kill()
            process.wait()


class Watcher:
    """An instance of `fleet watch`, to be killed and started again."""

    def __init__(self, cluster: Cluster, log: Path, within: Sequence[str] = ()) -> None:
        """It is started by the command `within`, and answers on `port` of that place's loopback."""
        self.port = free_port()
        listen = ["--listen", f"{HOST}:{self.port}"]
        servers = [part for url in cluster.urls for part in ("--server", url)]
        self._command = [*within, sys.executable, "-m", "edge_agent", "fleet", "watch", *listen, *servers]
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def wait_following(self) -> None:
        wait_until(lambda: "following" in self._log.read_text(), 60)

    def cost(self) -> Cost:
        return cost(self.process.pid)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the devices themselves have written down."""

    sent: dict[str, list[int]]
    """The events that each device handed over."""
    back_s: list[float]
    """How long devices were without a broker, each time."""

    @property
    def events(self) -> int:
        return sum(map(len, self.sent.values()))


def ledger(directory: Path) -> Ledger:
    sent: dict[str, list[int]] = defaultdict(list)
    back_s: list[float] = []
    for file in directory.glob("ledger-*"):
        for line in file.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                break  # being written
            what, name, number = line.split()
            if what == "event":
                sent[name].append(int(number))
            else:
                back_s.append(float(number))
    return Ledger(sent, back_s)


@dataclass(frozen=True, slots=True)
class Kept:
    """An event in a stream; times in seconds since 1970."""

    device: str
    seq: int
    made_s: float
    kept_s: float


async def wait_kept(cluster: Cluster, count: int, timeout_s: float) -> None:
    """Return once so many events are kept, or after that time."""
    client = await nats.connect(list(cluster.urls))
    stream = client.jetstream(timeout=10)
    end_s = time.monotonic() + timeout_s
    while (await stream.stream_info(EVENTS_STREAM)).state.messages < count and time.monotonic() < end_s:
        await asyncio.sleep(1)
    await client.close()


async def events_in(cluster: Cluster, stream: str = EVENTS_STREAM) -> list[Kept]:
    """All events of a stream in its order, whether it is MQTT's or ours."""
    subject, level = (
        ("$MQTT.msgs.edge_agent.*.event", 3) if stream == MQTT_STREAM else ("edge_agent_event.*.*", 1)
    )
    client = await nats.connect(list(cluster.urls))
    context = client.jetstream(timeout=10)
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, num_replicas=1)
    reader = await context.pull_subscribe(subject, stream=stream, config=config)
    found: list[Kept] = []
    while (await reader.consumer_info()).num_pending:
        for message in await reader.fetch(500, timeout=20):
            event = json.loads(message.data)
            device, kept_s = message.subject.split(".")[level], message.metadata.timestamp.timestamp()
            made_s = datetime.fromisoformat(event["ts"]).timestamp()
            found.append(Kept(device, event["seq"], made_s, kept_s))
            await message.ack()
    await client.close()
    return found


def by_device(events: Sequence[Kept]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for event in events:
        found[event.device].append(event.seq)
    return found


def retained(node: Node) -> set[str]:
    """The topics that a node hands to somebody who comes now."""
    with connected(broker_config(node.mqtt_port), "3.1.1", client_id=f"late-{node.name}") as late:
        late.subscribe("edge_agent/+/health", "edge_agent/+/info", retained=True)
        found: set[str] = set()
        quiet_s = time.monotonic() + 5
        while time.monotonic() < quiet_s:
            fresh = {item.topic for item in late.step(1) if isinstance(item, Incoming)}
            if fresh - found:
                quiet_s = time.monotonic() + 5
            found |= fresh
    return found
