"""What a fleet takes on three nodes of NATS, all on this machine, and how fast `fleet watch` is.

  python -m benchmarks.fleet --devices 100 300 1000 --json fleet.json

Each of the simulated devices, which have the daemon's own payloads, outboxes and connections, publishes an
event every 20 s and its health every 60 s. Minutes. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import nats

from edge_agent.mqtt.contract.payloads import encode
from edge_agent.tools.fleet.backbone import MQTT_STREAM
from tests.mqtt import samples
from tests.tools.fleet.cost import Cost
from tests.tools.fleet.nats import Cluster
from tests.tools.fleet.running import Kept, Load, Watcher, devices, events_in, ledger, wait_kept

LOAD = Load(event_s=20.0, health_s=60.0)
_BACKLOG_DEVICES = 100
_AT_ONCE = 200
_OTHERS_TURN_S = 12.0  # until an instance takes the turn of one that was killed


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of devices."""

    devices: int
    connected_s: float
    """Until each had an event acknowledged, all having been started at once."""
    messages_a_second: float
    node_mb: float
    """Resident, the mean of the three."""
    node_idle_mb: float
    nodes_cpu_ms: float
    """Of all three nodes together, for each message."""
    watch_mb: float
    watch_cpu_ms: float
    """For each message."""
    kept_median_ms: float
    """From an event's making in its device until it is kept in EDGE_AGENT_EVENTS."""
    kept_95_ms: float


def measure(count: int, seconds: float, directory: Path) -> Measured:
    """Run so many devices for so long."""
    with Cluster(directory / "nats") as cluster, ExitStack() as stack:
        watcher = Watcher(cluster, directory / "watch.log")
        stack.callback(watcher.kill)
        watcher.wait_following()
        idle_mb = _mean_mb([node.cost() for node in cluster.nodes])
        begun_s = time.monotonic()
        with devices(directory / "devices", cluster, count, LOAD):
            asyncio.run(wait_kept(cluster, count, 300))
            connected_s = time.monotonic() - begun_s
            time.sleep(LOAD.health_s / 2)
            nodes, watch, since_s = [node.cost() for node in cluster.nodes], watcher.cost(), time.time()
            messages = asyncio.run(_messages(cluster))
            time.sleep(seconds)
            messages, until_s = asyncio.run(_messages(cluster)) - messages, time.time()
            nodes_after, watch_after = [node.cost() for node in cluster.nodes], watcher.cost()
        asyncio.run(wait_kept(cluster, ledger(directory / "devices").events, 60))
        late = _late_ms(asyncio.run(events_in(cluster)), since_s, until_s)
    cpu_s = sum(now.cpu_s - then.cpu_s for now, then in zip(nodes_after, nodes, strict=True))
    return Measured(
        devices=count,
        connected_s=connected_s,
        messages_a_second=messages / (until_s - since_s),
        node_mb=_mean_mb(nodes_after),
        node_idle_mb=idle_mb,
        nodes_cpu_ms=1000 * cpu_s / messages,
        watch_mb=watch_after.rss_mb,
        watch_cpu_ms=1000 * (watch_after.cpu_s - watch.cpu_s) / messages,
        kept_median_ms=statistics.median(late),
        kept_95_ms=statistics.quantiles(late, n=20)[-1],
    )


def backlog_rate(events: int, directory: Path) -> float:
    """How many events a second one instance keeps, of those that came while none was there."""
    with Cluster(directory / "nats") as cluster, ExitStack() as stack:
        watcher = Watcher(cluster, directory / "watch.log")
        stack.callback(watcher.kill)
        watcher.wait_following()
        watcher.kill()
        asyncio.run(_fill(cluster, events))
        time.sleep(_OTHERS_TURN_S)
        watcher.start()
        asyncio.run(wait_kept(cluster, events, 300))
        kept = asyncio.run(events_in(cluster))
    assert len(kept) == events
    return events / (kept[-1].kept_s - kept[0].kept_s)


async def _fill(cluster: Cluster, events: int) -> None:
    """Put events into MQTT's stream, as NATS does for devices."""
    client = await nats.connect(list(cluster.urls))
    stream, slots = client.jetstream(timeout=30), asyncio.Semaphore(_AT_ONCE)

    async def publish(number: int) -> None:
        subject = f"$MQTT.msgs.edge_agent.d{number % _BACKLOG_DEVICES:04}.event"
        async with slots:
            await stream.publish(subject, encode(samples.changed(number)))

    await asyncio.gather(*(publish(number) for number in range(events)))
    await client.close()


async def _messages(cluster: Cluster) -> int:
    """How many messages devices have published so far."""
    client = await nats.connect(list(cluster.urls))
    found = await client.jetstream(timeout=10).stream_info(MQTT_STREAM)
    await client.close()
    return int(found.state.last_seq)


def _late_ms(kept: Sequence[Kept], since_s: float, until_s: float) -> list[float]:
    return [1000 * (event.kept_s - event.made_s) for event in kept if since_s < event.made_s < until_s]


def _mean_mb(costs: Sequence[Cost]) -> float:
    return statistics.mean(cost.rss_mb for cost in costs)


def table(found: Sequence[Measured]) -> str:
    """Markdown."""
    rows: tuple[tuple[str, str], ...] = (
        ("messages a second", "{messages_a_second:.1f}"),
        ("memory of a node, MB", "{node_mb:.0f} ({node_idle_mb:.0f} with none)"),
        ("of which for each device, kB", "{device_kb:.0f}"),
        ("CPU of all nodes for each message, ms", "{nodes_cpu_ms:.1f}"),
        ("memory of `fleet watch`, MB", "{watch_mb:.0f}"),
        ("its CPU for each message, ms", "{watch_cpu_ms:.2f}"),
        ("an event is kept after, ms: median", "{kept_median_ms:.0f}"),
        ("95th percentile", "{kept_95_ms:.0f}"),
        ("all started at once: connected and heard after, s", "{connected_s:.0f}"),
    )
    lines = ["| devices | " + " | ".join(f"{each.devices:,}" for each in found) + " |"]
    lines.append("|---|" + "---|" * len(found))
    for title, form in rows:
        cells = [form.format(**asdict(each), device_kb=_device_kb(each)) for each in found]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _device_kb(found: Measured) -> float:
    return 1000 * (found.node_mb - found.node_idle_mb) / found.devices


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[100, 300, 1000], metavar="N")
    parser.add_argument("--seconds", type=float, default=60.0, help="measure each for so long (60)")
    parser.add_argument("--backlog", type=int, default=10_000, metavar="N", help="events that have waited")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(arguments)
    found: list[Measured] = []
    for count in args.devices:
        with tempfile.TemporaryDirectory(prefix="edge-agent-fleet-") as directory:
            found.append(measure(count, args.seconds, Path(directory)))
        print(json.dumps(asdict(found[-1])), file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="edge-agent-fleet-") as directory:
        rate = backlog_rate(args.backlog, Path(directory))
    print(table(found))
    print(f"\nOf {args.backlog:,} events that waited, `fleet watch` kept {rate:,.0f} a second.")
    if args.json:
        document = {"devices": [asdict(each) for each in found], "backlog_events_a_second": rate}
        args.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
