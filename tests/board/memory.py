"""The daemon's resident memory on the virtual board: `tests/board/measure [CPU...]`."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_agent.memory.procfs import parse_status
from tests.board import materials
from tests.board.board import CPUS, Board
from tests.board.service import CONFIG_FILE, Service

FRAMES = 5
"""Classified frames after which the memory counts as steady."""
ROOMY_MB = 400
"""A budget that each of them fits into."""
ENGINES = ("xnnpack",)
PRECISIONS = ("fp16", "fp32")


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
    service.wait_for("active")
    state = service.fresh_states(FRAMES)[-1]
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


def measure_board(cpu: str) -> Iterator[Row]:
    """Install the service with ResNet-18 on a clean board, and measure each engine and precision there."""
    board = Board(cpu)
    board.start()
    try:
        service = Service(board, materials.resnet18_model())
        service.bring_materials()
        service.install()
        for engine, precision in itertools.product(ENGINES, PRECISIONS):
            yield measure(service, engine, precision, ROOMY_MB)
    finally:
        board.stop()


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| board | engine | weights | arithmetic | steady VmRSS MB | peak VmRSS MB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {CPUS[row.cpu]} ({row.cpu}) | {row.engine} | {row.precision} | {row.arithmetic}"
        f" | {row.steady_mb:.0f} | {row.peak_mb:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row as soon as it is measured, and the table in the end."""
    parser = argparse.ArgumentParser(prog="tests/board/measure", description=__doc__)
    parser.add_argument("cpu", nargs="*", choices=[[], *CPUS], help="default: all")
    args = parser.parse_args(argv)
    rows: list[Row] = []
    for cpu in args.cpu or CPUS:
        for row in measure_board(cpu):
            print(row, file=sys.stderr)
            rows.append(row)
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
