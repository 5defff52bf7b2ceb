"""Three nodes of NATS, killed in turn under many devices: no event is lost, kept twice, or out of order.

FLEET_DEVICES and FLEET_KILLS say how many: `make fleet-test FLEET_DEVICES=300 FLEET_KILLS=100`.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_agent.tools.fleet.backbone import MQTT_STREAM
from tests.tools.fleet.nats import Cluster
from tests.tools.fleet.running import Watcher, by_device, devices, events_in, ledger, retained, wait_kept

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(7200)]

DEVICES = int(os.environ.get("FLEET_DEVICES", "100"))
KILLS = int(os.environ.get("FLEET_KILLS", "9"))
DOWN_S, UP_S = 3.0, 3.0
MEDIAN_S, MOST_S = 30.0, 60.0


def said(back_s: list[float]) -> str:
    if not back_s:
        return "nobody was without a broker"
    times = f"{len(back_s)} times without a broker"
    return f"{times}: median {statistics.median(back_s):.1f} s, most {max(back_s):.1f} s"


def test_no_event_is_lost_repeated_or_out_of_order_while_nodes_and_watchers_are_killed(
    tmp_path: Path,
) -> None:
    begun_s = time.monotonic()
    with Cluster(tmp_path / "nats") as cluster, ExitStack() as stack:
        watchers = [Watcher(cluster, tmp_path / f"watch{index}.log") for index in range(2)]
        for watcher in watchers:
            stack.callback(watcher.kill)
            watcher.wait_following()
        with devices(tmp_path / "devices", cluster, DEVICES):
            time.sleep(15)
            for kill in range(KILLS):
                settled = kill_and_restart(cluster, kill, watchers[kill % 2])
                so_far = ledger(tmp_path / "devices")
                print(
                    f"{time.monotonic() - begun_s:.0f} s: kill {kill + 1} of {KILLS}, {settled};"
                    f" {so_far.events} events; {said(so_far.back_s)}",
                    flush=True,
                )
        told = ledger(tmp_path / "devices")
        asyncio.run(wait_kept(cluster, told.events, 240))
        found = by_device(asyncio.run(events_in(cluster)))
        topics = [retained(node) for node in cluster.nodes]
        differing = cluster.places_that_differ(MQTT_STREAM)
    took_s = time.monotonic() - begun_s
    print(f"{DEVICES} devices, {KILLS} kills, {told.events} events, {took_s:.0f} s; {said(told.back_s)}")
    print(f"{differing} places of MQTT's stream on which the three nodes do not agree")
    lost = {name: set(seqs) - set(found[name]) for name, seqs in told.sent.items()}
    assert {name: seqs for name, seqs in lost.items() if seqs} == {}
    assert found == told.sent  # none twice, and each device's in their order
    assert len(told.sent) == DEVICES
    wanted = {f"edge_agent/{name}/{kind}" for name in told.sent for kind in ("health", "info")}
    assert [wanted - each for each in topics] == [set(), set(), set()]
    assert statistics.median(told.back_s) <= MEDIAN_S
    assert max(told.back_s) <= MOST_S


def kill_and_restart(cluster: Cluster, kill: int, watcher: Watcher) -> str:
    """Kill a node and an instance of the watcher; go on when both others have all that the node missed."""
    node = cluster.nodes[kill % 3]
    node.kill()
    watcher.kill()
    time.sleep(DOWN_S)
    watcher.start()
    node.start()
    begun_s = time.monotonic()
    settled = cluster.settle(30)
    took_s = time.monotonic() - begun_s
    time.sleep(UP_S)
    return f"{node.name} {'caught up' if settled else 'NOT caught up'} in {took_s:.1f} s"
