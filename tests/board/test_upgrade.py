"""Upgrades a board from an earlier release to this checkout: what its owner has, and counts on, stays."""

from __future__ import annotations

import subprocess

import pytest

from tests.board.board import HERE, Board
from tests.board.service import CONFIG_FILE, SOURCE, Service

# The last commit before the package was divided into rooms: its modules lie elsewhere.
LOOSE_MODULES = "cd2fd881013bd05226fc059e4ba62d6aca8e1cd9"


@pytest.fixture(scope="module")
def released(board: Board) -> Service:
    """The service, installed on a clean board from that release."""
    if subprocess.run(["git", "-C", HERE, "cat-file", "-e", LOOSE_MODULES], check=False).returncode:
        pytest.skip(f"this clone does not reach back to {LOOSE_MODULES}")
    service = Service(board)
    service.bring_materials()
    service.bring_release(LOOSE_MODULES)
    service.install()
    return service


def test_a_broken_upgrade_is_rolled_back_to_the_release_with_loose_modules(
    board: Board, released: Service
) -> None:
    old = _current(board)
    released.bring_checkout()
    board.run(f"echo 'raise RuntimeError(\"a broken release\")' >>{SOURCE}/edge_agent/daemon/agent.py")
    done = released.install("--upgrade", check=False)
    assert done.returncode == 1
    assert "the old one runs again" in done.stderr
    assert _current(board) == old
    assert released.unit().active == "active"
    assert released.fresh_states()


def test_an_upgrade_from_the_release_with_loose_modules_keeps_configuration_and_numbers(
    board: Board, released: Service
) -> None:
    config = released.read(CONFIG_FILE)
    before = released.fresh_states()[0]["seq"]
    old = _current(board)
    released.bring_checkout()
    released.install("--upgrade")
    assert "First label: " in released.install_output
    assert _current(board) != old
    assert released.read(CONFIG_FILE) == config
    assert released.unit().active == "active"
    assert released.fresh_states()[0]["seq"] > before


def _current(board: Board) -> str:
    return board.run("readlink -f /opt/edge-agent/current").stdout
