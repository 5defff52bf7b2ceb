"""From the start of install.sh to the first label, on a board whose clock goes by instructions.

Emulation makes Python's start and floating point tens of times slower, and a busy machine all the rest, so
this machine's clock says nothing. The board's own counts 1 ns for each instruction, of both its cores, and
goes on while it waits: one core of 1 GHz with an instruction a cycle. A Raspberry Pi 4 has four of 1.5 GHz.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.board import materials
from tests.board.board import SUITES, Board
from tests.board.service import Service

LONGEST_S = 120.0


@pytest.fixture(scope="module")
def counted() -> Iterator[Board]:
    board = Board(
        os.environ["EDGE_AGENT_BOARD"], os.environ.get("EDGE_AGENT_BOARD_SUITE", SUITES[0]), counted=True
    )
    board.start()
    yield board
    board.stop()


def test_the_first_label_of_a_model_built_here_comes_within_two_minutes(counted: Board) -> None:
    service = Service(counted)
    service.bring_materials()
    weights, wheel = materials.resnet18_weights(), materials.native_wheel()
    counted.push([weights, wheel], "/root")
    began_s = _uptime_s(counted)
    given = f"--weights /root/{weights.name} --arch resnet18 --wheel /root/{wheel.name}"
    service.run_installer(f"{given} --offline /root/wheelhouse")
    took_s = _uptime_s(counted) - began_s
    print(f"installed, built and labelled in {took_s:.0f} s of the board's own clock")
    assert "First label: " in service.install_output
    assert took_s <= LONGEST_S, service.install_output


def _uptime_s(board: Board) -> float:
    return float(board.run("cat /proc/uptime").stdout.split()[0])
