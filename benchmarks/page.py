"""Measures what people who look at the page cost the agent's own work: the rate of frames, with and without.

  python -m benchmarks.page --model DIR [--viewers 5] [--fps 0 4] [--rounds 8] [--seconds 8]

Runs the whole daemon on a folder of pictures, once for each rate of frames (0 is as many as can be
classified), and lets the viewers (`benchmarks.viewers`) look and leave in turn, while the agent goes on. What
counts is the ratio of the two rates, of neighbouring windows of the same run; their median is given. The
viewers and the broker stand for other machines: they run on the last core, the agent on all the others, so
that what they take themselves is not taken for the agent's. On a machine of one core they run when it is
idle, and the rest of their cost counts.

Printed as well: the agent's CPU time and wake-ups a second, its threads and memory, and how often the viewers
asked for what. Ends with 1 where the rate with viewers is below 97 % of that without.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.daemon import mosquitto
from edge_agent.memory.procfs import read_memory
from edge_agent.system import paths
from edge_agent.tools.demo.bundled import PICTURES_DIR
from tests.web.helpers import HOST, Client, free_port

LEAST_RATIO = 0.97

_START_S = 120.0
_SETTLE_S = 1.0
"""Opening the page is no looking at it, and closed connections are noticed within a second."""
_JIFFIES_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has taken since it was started, at one moment."""

    at_s: float
    cpu_s: float
    wakeups: int
    """How often one of its threads has waited for something."""
    threads: int
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Window:
    """Some seconds with viewers, or without."""

    fps: float
    cpu_share: float
    """Of one core."""
    wakeups_per_s: float
    threads: int
    rss_mb: float


class Viewers:
    """The process of those who look."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def look(self) -> None:
        """Have all of them open the page."""
        self._say("look")

    def leave(self) -> dict[str, int]:
        """Have all of them close it; returns what they asked for, by path."""
        self._say("away")
        assert self._process.stdout is not None
        asked: dict[str, int] = json.loads(self._process.stdout.readline())
        return asked

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()


def process_usage(pid: int) -> Usage:
    """Read what a process has taken until now."""
    at_s = time.monotonic()
    tasks = [_wakeups(task) for task in Path(f"/proc/{pid}/task").iterdir()]
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / _JIFFIES_PER_S
    return Usage(at_s, cpu_s, sum(tasks), len(tasks), read_memory(pid).rss_mb)


def between(before: Usage, after: Usage, frames: int) -> Window:
    """What was done between two moments."""
    seconds = after.at_s - before.at_s
    return Window(
        fps=frames / seconds,
        cpu_share=(after.cpu_s - before.cpu_s) / seconds,
        wakeups_per_s=(after.wakeups - before.wakeups) / seconds,
        threads=after.threads,
        rss_mb=after.rss_mb,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is stopped that was started
    model = paths.find_model(args.model, os.environ)
    ratios = [_measure(args, model, fps) for fps in args.fps]
    return 0 if min(ratios) >= LEAST_RATIO else 1


def _measure(args: argparse.Namespace, model: Path, fps: float) -> float:
    """Run the agent once; prints what was found, and returns the ratio of its rates."""
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-agent-page-")))
        others, own = _cores()
        with _on(others):
            broker_port = stack.enter_context(mosquitto(state))
        client = Client(free_port())
        with _on(own):
            pid = stack.enter_context(_agent(args, model, state, broker_port, client, fps))
        with _on(others):
            viewers = stack.enter_context(_viewers(client.port, args.viewers, is_alone=others == own))
        pairs = [_pair(args, pid, client, viewers) for _ in range(args.rounds)]
    return _report(args, fps, pairs)


def _pair(
    args: argparse.Namespace, pid: int, client: Client, viewers: Viewers
) -> tuple[Window, Window, dict[str, int]]:
    """A window without viewers, and one with them."""
    alone = _window(args, pid, client)
    viewers.look()
    time.sleep(_SETTLE_S)
    seen = _window(args, pid, client)
    asked = viewers.leave()
    time.sleep(_SETTLE_S)
    return alone, seen, asked


def _window(args: argparse.Namespace, pid: int, client: Client) -> Window:
    first, before = _newest_frame(client), process_usage(pid)
    time.sleep(args.seconds)
    last, after = _newest_frame(client), process_usage(pid)
    return between(before, after, last - first)


def _newest_frame(client: Client) -> int:
    """The number of the newest frame that was classified; of a folder's frames none is dropped."""
    return int(client.ask("/api/v1/state").json["frame"]["id"])


def _report(
    args: argparse.Namespace, fps: float, pairs: Sequence[tuple[Window, Window, dict[str, int]]]
) -> float:
    alone, seen = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ratios = sorted(with_.fps / without.fps for without, with_, _ in pairs)
    ratio = median(ratios)
    print(f"{f'{fps:g} frames a second' if fps else 'as many frames as can be classified'}:")
    print(f"  {'':20}{'fps':>8}{'CPU':>8}{'wake-ups/s':>12}{'threads':>9}{'MB':>7}")
    for name, windows in (("without viewers", alone), (f"with {args.viewers}", seen)):
        middle = [median(getattr(w, of) for w in windows) for of in Window.__slots__]
        print("  {:20}{:8.2f}{:8.1%}{:12.0f}{:9.0f}{:7.1f}".format(name, *middle))
    print(f"  ratio of the rates: {ratio:.1%} (windows: {ratios[0]:.1%} to {ratios[-1]:.1%})")
    seconds = (args.seconds + _SETTLE_S) * len(pairs) * args.viewers
    paths_asked = sorted({path for *_, asked in pairs for path in asked})
    each = ((path, sum(asked.get(path, 0) for *_, asked in pairs) / seconds) for path in paths_asked)
    print("  each viewer, a second: " + ", ".join(f"{path} {rate:.2f}" for path, rate in each), flush=True)
    return ratio


@contextmanager
def _agent(
    args: argparse.Namespace, model: Path, state: Path, broker_port: int, client: Client, fps: float
) -> Iterator[int]:
    """The daemon, once frames are classified; yields its process id."""
    settings = state / "edge-agent.yaml"
    settings.write_text(json.dumps(_settings(args, model, broker_port, client.port, fps)))  # JSON is YAML
    # As the service has it.
    environment = os.environ | {"STATE_DIRECTORY": str(state), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(settings)]
    agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        _wait(agent, client)
        yield agent.pid
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(timeout=30)


@contextmanager
def _viewers(port: int, number: int, *, is_alone: bool) -> Iterator[Viewers]:
    command = [sys.executable, "-m", "benchmarks.viewers", str(port), str(number)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if is_alone:
        os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
    try:
        yield Viewers(process)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """What is started here runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cores() -> tuple[set[int], set[int]]:
    """The core of viewers and broker, and those of the agent."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[-1]}, set(cores[:-1] or cores)


def _wait(agent: subprocess.Popen[bytes], client: Client) -> None:
    deadline_s = time.monotonic() + _START_S
    while True:
        try:
            if client.ask("/healthz").status == 200 and client.ask("/api/v1/health").status == 200:
                return
        except OSError:
            pass
        if agent.poll() is not None or time.monotonic() > deadline_s:
            sys.exit("the agent ended, or classified nothing")
        time.sleep(0.2)


def _settings(
    args: argparse.Namespace, model: Path, broker_port: int, page_port: int, fps: float
) -> dict[str, object]:
    return {
        "device_id": "bench",
        "source": {"type": "folder", "fps": fps, "folder": {"path": str(args.images), "loop": True}},
        "model": {"path": str(model), "engine": args.engine},
        "memory": {"budget_mb": 512},
        "publish": {"event_image": args.event_image},
        "web": {"enabled": True, "listen": f"{HOST}:{page_port}"},
        "mqtt": {"host": HOST, "port": broker_port},
        "log": {"level": "warning"},
    }


def _wakeups(task: Path) -> int:
    """How often a thread has waited."""
    status = (task / "status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split(None, 1)[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", metavar="DIR", type=Path, help="a model directory (default: the installed one)")
    add("--images", metavar="DIR", type=Path, default=PICTURES_DIR, help="pictures (default: bundled)")
    add("--engine", choices=("auto", "native", "xnnpack", "torchscript"), default="auto")
    add("--viewers", metavar="N", type=int, default=5, help="who look at once (default: 5)")
    add("--fps", metavar="N", type=float, nargs="+", default=[0.0, 4.0], help="rates (default: 0 4)")
    add("--rounds", metavar="N", type=int, default=8, help="windows of each kind (default: 8)")
    add("--seconds", metavar="N", type=float, default=8.0, help="of a window (default: 8)")
    add("--event-image", action="store_true", help="with pictures of the events")
    return parser


if __name__ == "__main__":
    sys.exit(main())
