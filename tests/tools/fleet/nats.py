"""Real nodes of NATS on loopback, which a test kills and starts again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Self

from tests.installed import program
from tests.mqtt.brokers import HOST, free_port

_START_S = 30.0


class Node:
    """One nats-server; `start` after `kill` keeps ports and data."""

    def __init__(self, directory: Path, name: str, cluster: tuple[int, ...] = (), index: int = 0) -> None:
        """`cluster` has the ports of the routes between the nodes, of which `index` is this one's."""
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.port, self.mqtt_port, self.http_port = free_port(), free_port(), free_port()
        self.log = directory / f"{name}.log"
        self._config = directory / f"{name}.conf"
        self._process: subprocess.Popen[bytes] | None = None
        routes = ", ".join(f"nats://{HOST}:{port}" for port in cluster)
        clustered = (
            f"cluster {{ name: c, listen: {HOST}:{cluster[index]}, routes: [{routes}] }}\n" if cluster else ""
        )
        self._config.write_text(
            f"server_name: {name}\nlisten: {HOST}:{self.port}\nhttp: {HOST}:{self.http_port}\n"
            f"jetstream {{ store_dir: {directory}/{name}, max_mem: 64M, max_file: 2G }}\n"
            f"mqtt {{ listen: {HOST}:{self.mqtt_port} }}\n{clustered}"
        )

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        self.wait_healthy()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Skips the test where nats-server is not installed."""
        with self.log.open("ab") as log:
            command = [program("nats-server"), "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def wait_healthy(self, timeout_s: float = _START_S) -> None:
        """Return once the node has caught up with the others; fail if it does not in time."""
        deadline_s = time.monotonic() + timeout_s
        while not self._is_healthy():
            assert time.monotonic() < deadline_s, (
                f"{self.name} did not start:\n{self.log.read_text()[-2000:]}"
            )
            time.sleep(0.1)

    def settle(self, timeout_s: float) -> None:
        """Give the node time to catch up. NATS 2.9 can call one unhealthy for a consumer of a node that was
        killed, although it serves everybody: that fails nothing."""
        deadline_s = time.monotonic() + timeout_s
        while not self._is_healthy() and time.monotonic() < deadline_s:
            time.sleep(0.1)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.http_port}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def cost(self) -> tuple[float, float]:
        """Seconds of CPU that it has taken so far, and its resident memory in MB."""
        assert self._process is not None
        folder = Path(f"/proc/{self._process.pid}")
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        (rss_kb,) = re.findall(r"VmRSS:\s+(\d+)", (folder / "status").read_text())
        return ticks / os.sysconf("SC_CLK_TCK"), int(rss_kb) / 1024

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class Cluster:
    """Three nodes; a context manager."""

    def __init__(self, directory: Path) -> None:
        routes = (free_port(), free_port(), free_port())
        self.nodes = tuple(Node(directory, f"n{index + 1}", routes, index) for index in range(3))

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_healthy()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()

    @property
    def hosts(self) -> tuple[str, ...]:
        """What devices have as `mqtt.hosts`."""
        return tuple(f"{HOST}:{node.mqtt_port}" for node in self.nodes)

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(node.url for node in self.nodes)
