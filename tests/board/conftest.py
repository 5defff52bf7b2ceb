"""The virtual board that the tests of this folder run on: one for all tests of a file, started clean.

`tests/board/run` sets EDGE_AGENT_BOARD to the CPU model, and EDGE_AGENT_BOARD_SUITE to the Debian; without
the first the tests are skipped, since they take an hour and want QEMU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.board.board import SUITES, Board
from tests.board.service import Service

_HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.timeout(3600))
        if "EDGE_AGENT_BOARD" not in os.environ:
            item.add_marker(pytest.mark.skip(reason="wants a virtual board: run tests/board/run"))


@pytest.fixture(scope="module")
def board() -> Iterator[Board]:
    board = Board(os.environ["EDGE_AGENT_BOARD"], os.environ.get("EDGE_AGENT_BOARD_SUITE", SUITES[0]))
    board.start()
    yield board
    board.stop()


@pytest.fixture(scope="module")
def service(board: Board) -> Service:
    """The service, installed on a clean board from this checkout, without a network."""
    service = Service(board)
    service.bring_materials()
    service.install()
    return service
