"""Real nodes of NATS, which a test kills and starts again: on loopback, or each in a network of its own."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import struct
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from edge_agent.tools.fleet.backbone import Backbone, Login, connect
from tests.installed import program
from tests.mqtt.brokers import HOST, free_port
from tests.tools.fleet.cost import Cost, cost

_START_S = 30.0
_HEAD = struct.Struct("<IQQH")  # of a stored message: its size, place, time, and the size of its subject
_GONE = 3 << 62  # bits of the place of a message that was removed


def release() -> tuple[int, ...]:
    """Of nats-server, (2, 10, 27). Skips the test where it is not installed."""
    said = subprocess.run([program("nats-server"), "--version"], check=True, capture_output=True, text=True)
    return tuple(int(number) for number in re.findall(r"\d+", said.stdout))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node runs: its address, and the command that starts programs there."""

    host: str = HOST
    within: tuple[str, ...] = ()


HERE = Place()


class Node:
    """One nats-server; `start` after `kill` keeps ports and data."""

    def __init__(
        self, directory: Path, name: str, place: Place = HERE, route: str = "", routes: tuple[str, ...] = ()
    ) -> None:
        """`routes` are the addresses at which the nodes of a cluster meet, `route` is this one's."""
        directory.mkdir(parents=True, exist_ok=True)
        self.name, self.host = name, place.host
        self.port, self.mqtt_port, self.http_port = free_port(), free_port(), free_port()
        self.log = directory / f"{name}.log"
        self.store = directory / name
        self._within = place.within
        self._config = directory / f"{name}.conf"
        self._process: subprocess.Popen[bytes] | None = None
        others = ", ".join(f"nats://{address}" for address in routes)
        clustered = f"cluster {{ name: c, listen: {route}, routes: [{others}] }}\n" if routes else ""
        self._config.write_text(
            f"server_name: {name}\nlisten: {self.host}:{self.port}\nhttp: {self.host}:{self.http_port}\n"
            f"jetstream {{ store_dir: {self.store}, max_mem: 64M, max_file: 2G }}\n"
            f"mqtt {{ listen: {self.host}:{self.mqtt_port} }}\n{clustered}"
        )

    @property
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        self.wait_healthy()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Skips the test where nats-server is not installed."""
        with self.log.open("ab") as log:
            command = [*self._within, program("nats-server"), "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def wait_healthy(self, timeout_s: float = _START_S) -> None:
        """Return once the node has caught up with the others; fail if it does not in time."""
        deadline_s = time.monotonic() + timeout_s
        while self._answer("healthz") is None:
            assert time.monotonic() < deadline_s, (
                f"{self.name} did not start:\n{self.log.read_text()[-2000:]}"
            )
            time.sleep(0.1)

    def streams(self) -> dict[str, bool] | None:
        """Of each stream that it has whether it leads it, and all others have all of it; None where it does
        not answer."""
        found = self._answer("jsz?streams=1&accounts=1")
        if found is None:
            return None
        accounts = found.get("account_details") or []
        details = [each for account in accounts for each in account.get("stream_detail") or []]
        return {each["name"]: self._is_followed(each.get("cluster") or {}) for each in details}

    def _is_followed(self, cluster: dict[str, Any]) -> bool:
        replicas = cluster.get("replicas") or []
        return (
            cluster.get("leader") == self.name and len(replicas) == 2 and all(r["current"] for r in replicas)
        )

    def _answer(self, path: str) -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.http_port}/{path}", timeout=2) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except OSError:
            return None

    def cost(self) -> Cost:
        assert self._process is not None
        return cost(self._process.pid)

    def leads(self, stream: str) -> bool:
        """Whether it is that stream's leader, and both others follow it."""
        return bool((self.streams() or {}).get(stream))

    def renew(self) -> None:
        """Start it with nothing: it gets all from the others."""
        self.kill()
        shutil.rmtree(self.store)
        self.start()

    def copy_of(self, stream: str) -> dict[int, bytes]:
        """What it has itself of a stream, by places: its files are read, once it has ended in good order."""
        self.stop()
        found: dict[int, bytes] = {}
        for file in self.store.glob(f"jetstream/*/streams/{stream}/msgs/*.blk"):
            data, at = file.read_bytes(), 0
            while at + _HEAD.size <= len(data):
                size, place, _, _ = _HEAD.unpack_from(data, at)
                size &= 0x7FFFFFFF  # the highest bit says that there are headers
                if not place & _GONE:
                    found[place] = data[at + _HEAD.size : at + size]
                at += max(size, _HEAD.size)
        return found

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it so that all it has is in its files."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None


async def prepare(login: Login) -> None:
    """Make in three nodes what `fleet watch` makes there; as it does, try until they know one another."""
    end_s = time.monotonic() + 60
    while True:
        try:
            client = await connect(login, "test")
            await Backbone(client, "edge_agent", 3).prepare()
            await client.close()
            return
        except Exception:
            if time.monotonic() > end_s:
                raise
            await asyncio.sleep(1)


class Cluster:
    """Three nodes; a context manager."""

    def __init__(self, directory: Path, places: tuple[Place, Place, Place] = (HERE, HERE, HERE)) -> None:
        routes = tuple(f"{place.host}:{free_port()}" for place in places)
        self.nodes = tuple(
            Node(directory, f"n{index + 1}", place, routes[index], routes)
            for index, place in enumerate(places)
        )

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_healthy()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()

    def settle(self, timeout_s: float) -> bool:
        """Return once all nodes answer, and each stream has a leader whom both others follow; False where
        that takes longer. (`healthz` of NATS 2.9 can say no for good, for a consumer of a killed node.)"""
        deadline_s = time.monotonic() + timeout_s
        while not self._is_settled():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.2)
        return True

    def _is_settled(self) -> bool:
        seen = [streams for node in self.nodes if (streams := node.streams()) is not None]
        names = {name for streams in seen for name in streams}
        followed = {name for streams in seen for name, is_followed in streams.items() if is_followed}
        return len(seen) == len(self.nodes) and bool(names) and names == followed

    def places_that_differ(self, stream: str) -> int:
        """On so many places the copies of a stream differ; the nodes are stopped."""
        self.settle(60)
        copies = [node.copy_of(stream) for node in self.nodes]
        places = set().union(*copies)
        return sum(len({copy.get(place) for copy in copies}) > 1 for place in places)

    @property
    def hosts(self) -> tuple[str, ...]:
        """What devices have as `mqtt.hosts`."""
        return tuple(f"{node.host}:{node.mqtt_port}" for node in self.nodes)

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(node.url for node in self.nodes)
