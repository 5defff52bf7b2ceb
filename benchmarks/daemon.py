"""Measures the whole daemon: `edge-agent run` on a folder of pictures, connected to a real broker.

  python -m benchmarks.daemon --model DIR [--images DIR] [--frames 500] [--engine xnnpack] [--precision fp16]

Starts mosquitto on a free loopback port and the agent beside it, counts the `state` messages that a
subscriber receives, and reads the agent's memory from /proc, children included. The memory in the second half
of the frames is the steady one; its growth is reported, too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median_low as median

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.memory.procfs import MemoryUse, read_memory
from edge_agent.system import paths
from edge_agent.tools.demo.bundled import PICTURES_DIR
from tests.installed import find

_HOST = "127.0.0.1"
_DEVICE = "bench"
_START_TIMEOUT_S = 120.0
_SAMPLE_S = 0.25


@dataclass(frozen=True, slots=True)
class DaemonMemory:
    """The daemon's memory, in MB."""

    engine: str
    precision: str
    frames: int
    steady_mb: float
    """The median over the second half of the frames."""
    highest_mb: float
    """The highest sample of that half."""
    peak_mb: float
    growth_mb: float
    """The median of the last tenth less that of the tenth in the middle."""
    anon_mb: float
    file_mb: float


class Counter:
    """Counts the `state` messages of the agent, as any subscriber would receive them."""

    def __init__(self, port: int) -> None:
        self.frames = 0
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._count
        self._client.connect(_HOST, port)
        self._client.subscribe(f"edge_agent/{_DEVICE}/state", qos=1)
        self._client.loop_start()

    def close(self) -> None:
        self._client.loop_stop()
        self._client.disconnect()

    def _count(self, _client: Client, _data: object, _message: MQTTMessage) -> None:
        self.frames += 1


def python_of_service(directory: Path, *, with_docstrings: bool = False) -> list[str]:
    """Python as the unit of a board without torch starts it; compiles below `directory` what it imports."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    python = [sys.executable, *([] if with_docstrings else ["-OO"]), "-X", f"pycache_prefix={directory}"]
    subprocess.run([*python, "-m", "edge_agent.tools.compiled"], check=True)
    return python


def measure(python: Sequence[str], settings: Path, port: int, frames: int) -> list[tuple[int, MemoryUse]]:
    """Run the agent until it has published `frames` frames; returns (frames, memory) samples."""
    counter = Counter(port)
    command = [*python, "-m", "edge_agent", "run", "--config", str(settings)]
    agent = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        return list(_samples(agent, counter, frames))
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(timeout=30)
        counter.close()


def summary(samples: Sequence[tuple[int, MemoryUse]], engine: str, precision: str) -> DaemonMemory:
    """Summarise the samples. Raises ValueError when there are too few."""
    half = [use for count, use in samples if count >= samples[-1][0] / 2]
    tenth = max(1, len(half) // 5)
    growth = median(use.rss_mb for use in half[-tenth:]) - median(use.rss_mb for use in half[:tenth])
    return DaemonMemory(
        engine=engine,
        precision=precision,
        frames=samples[-1][0],
        steady_mb=median(use.rss_mb for use in half),
        highest_mb=max(use.rss_mb for use in half),
        peak_mb=samples[-1][1].peak_mb,
        growth_mb=growth,
        anon_mb=median(use.anon_mb for use in half),
        file_mb=median(use.file_mb for use in half),
    )


@contextmanager
def mosquitto(directory: Path) -> Iterator[int]:
    """A broker that anyone on this machine may use; yields its port."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = int(probe.getsockname()[1])
    config = directory / "mosquitto.conf"
    config.write_text(f"listener {port} {_HOST}\nallow_anonymous true\n")
    broker = subprocess.Popen(
        [find("mosquitto") or "mosquitto", "-c", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(lambda: _listens(port), "mosquitto")
        yield port
    finally:
        broker.terminate()
        broker.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the broker and the agent are stopped
    model = paths.find_model(args.model, os.environ)
    with tempfile.TemporaryDirectory(prefix="edge-agent-daemon-") as directory:
        os.environ["STATE_DIRECTORY"] = directory
        with mosquitto(Path(directory)) as port:
            settings = Path(directory) / "edge-agent.yaml"
            settings.write_text(json.dumps(_settings(args, model, port)))  # JSON is YAML
            with_docstrings = args.with_docstrings or args.engine == "torchscript"
            python = python_of_service(Path(directory) / "compiled", with_docstrings=with_docstrings)
            samples = measure(python, settings, port, args.frames)
    print(json.dumps(asdict(summary(samples, args.engine, args.precision)), indent=2))
    return 0


def _samples(
    agent: subprocess.Popen[bytes], counter: Counter, frames: int
) -> Iterator[tuple[int, MemoryUse]]:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while counter.frames < frames:
        time.sleep(_SAMPLE_S)
        if agent.poll() is not None:
            sys.exit(f"the agent ended with exit code {agent.returncode}")
        if counter.frames == 0 and time.monotonic() > deadline_s:
            sys.exit(f"the agent published nothing within {_START_TIMEOUT_S:.0f} s")
        yield counter.frames, read_memory(agent.pid)


def _settings(args: argparse.Namespace, model: Path, port: int) -> dict[str, object]:
    return {
        "device_id": _DEVICE,
        "source": {"type": "folder", "fps": 0, "folder": {"path": str(args.images), "loop": True}},
        "model": {"path": str(model), "engine": args.engine, "precision": args.precision},
        "memory": {"budget_mb": args.budget_mb},
        "mqtt": {"host": _HOST, "port": port},
        "log": {"level": "warning"},
    }


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex((_HOST, port)) == 0


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline_s:
            sys.exit(f"{what} did not start")
        time.sleep(0.05)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.daemon",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", metavar="DIR", type=Path, help="a model directory (default: the installed one)")
    add("--images", metavar="DIR", type=Path, default=PICTURES_DIR, help="pictures (default: bundled)")
    add("--frames", metavar="N", type=int, default=500, help="frames to publish (default: 500)")
    add("--engine", choices=("auto", "native", "xnnpack", "torchscript"), default="auto")
    add("--precision", choices=("auto", "fp16", "fp32"), default="auto")
    add("--budget-mb", metavar="N", type=int, default=512, help="the agent's budget (default: 512)")
    add("--with-docstrings", action="store_true", help="keep docstrings and assertions, as where torch is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
