"""The virtual board that the tests of this folder run on: one for all of them, started clean.

`tests/board/run` sets EDGE_AGENT_BOARD to the CPU model; without it the tests are skipped, since they take
an hour and want QEMU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.board.board import Board
from tests.board.service import Service

_HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.timeout(3600))
        if "EDGE_AGENT_BOARD" not in os.environ:
            item.add_marker(pytest.mark.skip(reason="wants a virtual board: run tests/board/run"))


@pytest.fixture(scope="session")
def board() -> Iterator[Board]:
    board = Board(os.environ["EDGE_AGENT_BOARD"])
    board.start()
    yield board
    board.stop()


@pytest.fixture(scope="session")
def service(board: Board) -> Service:
    """The service, installed on a clean board from this checkout, without a network."""
    service = Service(board)
    service.bring_materials()
    service.install()
    return service
