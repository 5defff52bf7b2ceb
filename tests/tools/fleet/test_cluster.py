"""Three nodes of NATS, killed in turn under many devices: no event is lost, kept twice, or out of order.

FLEET_DEVICES and FLEET_KILLS say how many: `make fleet-test FLEET_DEVICES=300 FLEET_KILLS=100`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nats
import pytest

from edge_agent.mqtt.contract.message import Incoming
from edge_agent.tools.fleet.backbone import EVENTS_STREAM
from tests.mqtt.brokers import HOST, free_port, wait_until
from tests.mqtt.helpers import connected
from tests.mqtt.samples import broker_config
from tests.tools.fleet.nats import Cluster, Node

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(7200)]

DEVICES = int(os.environ.get("FLEET_DEVICES", "100"))
KILLS = int(os.environ.get("FLEET_KILLS", "9"))
EVENT_S, HEALTH_S, PER_PROCESS = 10.0, 15.0, 50
MEASURED_S = 30.0
MEDIAN_S, MOST_S = 30.0, 60.0


@contextmanager
def devices(directory: Path, cluster: Cluster, count: int = DEVICES) -> Iterator[None]:
    """The simulated devices, in a few processes; at the end all of their events are acknowledged."""
    directory.mkdir()
    running = [
        subprocess.Popen(
            [
                sys.executable, "-m", "tests.tools.fleet.simulated", str(directory), str(first),
                str(min(PER_PROCESS, count - first)), str(EVENT_S), str(HEALTH_S), *cluster.hosts,
            ]
        )
        for first in range(0, count, PER_PROCESS)
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


class Watcher:
    """An instance of `fleet watch`, to be killed and started again."""

    def __init__(self, cluster: Cluster, log: Path) -> None:
        self._command = [
            sys.executable,
            "-m",
            "edge_agent",
            "fleet",
            "watch",
            "--listen",
            f"{HOST}:{free_port()}",
        ]
        for url in cluster.urls:
            self._command += ["--server", url]
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def wait_following(self) -> None:
        wait_until(lambda: "following" in self._log.read_text(), 60)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def ledgers(directory: Path) -> tuple[dict[str, list[int]], list[float]]:
    """The events that each device handed over, and how long devices were without a broker."""
    sent: dict[str, list[int]] = defaultdict(list)
    back_s: list[float] = []
    for file in directory.glob("ledger-*"):
        for line in file.read_text().splitlines():
            what, name, number = line.split()
            if what == "event":
                sent[name].append(int(number))
            else:
                back_s.append(float(number))
    return sent, back_s


async def kept(cluster: Cluster, count: int, timeout_s: float) -> dict[str, list[int]]:
    """The events in the stream by their devices, once there are `count`, or none has come for long."""
    client = await nats.connect(list(cluster.urls))
    stream = client.jetstream(timeout=10)
    end_s = time.monotonic() + timeout_s
    while (await stream.stream_info(EVENTS_STREAM)).state.messages < count and time.monotonic() < end_s:
        await asyncio.sleep(1)
    found: dict[str, list[int]] = defaultdict(list)
    subscription = await stream.subscribe("edge_agent_event.*.*", stream=EVENTS_STREAM, ordered_consumer=True)
    for _ in range((await stream.stream_info(EVENTS_STREAM)).state.messages):
        message = await subscription.next_msg(timeout=20)
        found[message.subject.split(".")[1]].append(json.loads(message.data)["seq"])
    await client.close()
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


def test_no_event_is_lost_repeated_or_out_of_order_while_nodes_and_watchers_are_killed(
    tmp_path: Path,
) -> None:
    with Cluster(tmp_path / "nats") as cluster, ExitStack() as stack:
        watchers = [Watcher(cluster, tmp_path / f"watch{index}.log") for index in range(2)]
        for watcher in watchers:
            stack.callback(watcher.kill)
            watcher.wait_following()
        with devices(tmp_path / "devices", cluster):
            time.sleep(15)
            for kill in range(KILLS):
                node, watcher = cluster.nodes[kill % 3], watchers[kill % 2]
                node.kill()
                watcher.kill()
                time.sleep(5)
                watcher.start()
                node.start()
                node.settle(20)
                time.sleep(3)
        sent, back_s = ledgers(tmp_path / "devices")
        count = sum(map(len, sent.values()))
        found = asyncio.run(kept(cluster, count, 240))
        topics = [retained(node) for node in cluster.nodes]
    print(
        f"{DEVICES} devices, {KILLS} kills, {count} events; {len(back_s)} times without a broker:"
        f" median {statistics.median(back_s):.1f} s, most {max(back_s):.1f} s"
    )
    lost = {name: set(seqs) - set(found[name]) for name, seqs in sent.items() if set(seqs) - set(found[name])}
    assert not lost
    assert found == sent  # none twice, and each device's in their order
    assert len(sent) == DEVICES
    wanted = {f"edge_agent/{name}/{kind}" for name in sent for kind in ("health", "info")}
    assert [wanted - each for each in topics] == [set(), set(), set()]
    assert statistics.median(back_s) <= MEDIAN_S
    assert max(back_s) <= MOST_S


@pytest.mark.parametrize("count", [100, 300])
def test_what_a_node_takes_for_each_device_and_message(tmp_path: Path, count: int) -> None:
    with Cluster(tmp_path / "nats") as cluster, ExitStack() as stack:
        watcher = Watcher(cluster, tmp_path / "watch.log")
        stack.callback(watcher.kill)
        watcher.wait_following()
        idle_mb = sum(node.cost()[1] for node in cluster.nodes) / 3
        with devices(tmp_path / "devices", cluster, count):
            time.sleep(45)
            before = [node.cost() for node in cluster.nodes]
            time.sleep(MEASURED_S)
            after = [node.cost() for node in cluster.nodes]
    messages = count * MEASURED_S * (1 / EVENT_S + 1 / HEALTH_S)
    cpu_s = sum(now[0] - then[0] for now, then in zip(after, before, strict=True))
    rss_mb = sum(now[1] for now in after) / 3
    each_kb, each_ms = 1000 * (rss_mb - idle_mb) / count, 1000 * cpu_s / messages
    print(
        f"{count} devices: a node has {rss_mb:.0f} MB ({idle_mb:.0f} before), {each_kb:.0f} kB a device;"
        f" {each_ms:.1f} ms of CPU a message on all three together"
    )
    assert rss_mb < 1000
