"""The daemon's resident memory on the virtual board: `tests/board/measure [--engine ENGINE] [CPU...]`."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_agent.memory.procfs import parse_status
from tests.board import materials
from tests.board.board import CPUS, Board
from tests.board.service import BUDGET_MB, CONFIG_FILE, Service

FRAMES = 3
"""Classified frames after which the memory counts as steady."""
ROOMY_MB = 600
"""A budget that each of them fits into."""
STREAMING_MB = 60
"""A budget in which the native engine gives its weights back layer by layer."""
PRECISIONS = ("fp16", "fp32")
_DROP_IN = "/etc/systemd/system/edge-agent.service.d/90-patience.conf"
# Emulated, torch takes minutes to import, and longer than the watchdog's patience for a frame. The kernel's
# limits are from the budget at installation: below what torch needs they reclaim what is to be measured.
_PATIENCE = """\
[Service]
TimeoutStartSec=1h
WatchdogSec=0
MemoryHigh=infinity
MemoryMax=infinity
"""


@dataclass(frozen=True)
class Row:
    """One run of the whole daemon."""

    cpu: str
    engine: str
    precision: str
    arithmetic: str
    budget_mb: int
    steady_mb: float
    peak_mb: float


def measure(service: Service, engine: str, precision: str, budget_mb: int) -> Row:
    """Run the service with these settings until it is steady, and read what the kernel says."""
    config = materials.config(budget_mb)
    config += f"model:\n  engine: {engine}\n  precision: {precision}\n"
    service.write(CONFIG_FILE, config)
    service.board.run("systemctl restart --no-block edge-agent; sleep 2")
    service.wait_for("active", timeout_s=3600)
    state = service.received("state", FRAMES, timeout_s=1800, options="-R")[-1]
    text = service.read(f"/proc/{service.unit().pid}/status")
    status = parse_status(text)
    return Row(
        cpu=service.board.cpu,
        engine=state["model"]["engine"],
        precision=state["model"]["precision"],
        arithmetic=service.received("info")[0]["engine"]["arithmetic"],
        budget_mb=budget_mb,
        steady_mb=status.rss_mb,
        peak_mb=status.peak_mb,
    )


def measure_native(service: Service) -> Iterator[Row]:
    """Install the service with kernels that were compiled here, and measure the native engine."""
    wheel = materials.native_wheel()
    service.board.push([wheel], "/root")
    service.install(f"--wheel /root/{wheel.name}")
    for precision in PRECISIONS:
        yield measure(service, "native", precision, ROOMY_MB)
    yield measure(service, "native", "fp16", STREAMING_MB)


def measure_lean(service: Service) -> Iterator[Row]:
    """Install the service with a model from elsewhere, and measure the lean engine."""
    service.install()
    yield measure(service, "xnnpack", "fp16", BUDGET_MB[service.board.cpu])
    for precision in PRECISIONS:
        yield measure(service, "xnnpack", precision, ROOMY_MB)


def measure_torch(service: Service) -> Iterator[Row]:
    """Install the service with torch, the model built on the board, and measure torch's engine."""
    service.board.run(f"mkdir -p $(dirname {_DROP_IN}) && cat >{_DROP_IN}", stdin=_PATIENCE.encode())
    service.install_torch()
    for precision in PRECISIONS:
        yield measure(service, "torchscript", precision, ROOMY_MB)


ENGINES = {"native": measure_native, "xnnpack": measure_lean, "torchscript": measure_torch}


def measure_board(cpu: str, engine: str) -> Iterator[Row]:
    """Measure an engine with ResNet-18, each precision, on a clean board."""
    board = Board(cpu)
    board.start()
    try:
        service = Service(board, materials.resnet18_model())
        service.bring_materials()
        yield from ENGINES[engine](service)
    finally:
        board.stop()


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| board | engine | weights | arithmetic | budget MB | steady VmRSS MB | peak VmRSS MB |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {CPUS[row.cpu]} ({row.cpu}) | {row.engine} | {row.precision} | {row.arithmetic}"
        f" | {row.budget_mb} | {row.steady_mb:.0f} | {row.peak_mb:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row as soon as it is measured, and the table in the end."""
    parser = argparse.ArgumentParser(prog="tests/board/measure", description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, help="only this one; torchscript takes an hour")
    parser.add_argument("cpu", nargs="*", choices=[[], *CPUS], help="default: all")
    args = parser.parse_args(argv)
    rows: list[Row] = []
    engines = [args.engine] if args.engine else list(ENGINES)
    for cpu, engine in itertools.product(args.cpu or CPUS, engines):
        for row in measure_board(cpu, engine):
            print(row, file=sys.stderr)
            rows.append(row)
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
