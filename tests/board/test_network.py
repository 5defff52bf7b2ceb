"""Installation from the network, as on a board that has one: Debian's packages, and Python's."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.board.board import Board
from tests.board.service import Service

TRUSTED = "/etc/ssl/certs/ca-certificates.crt"


def test_a_clean_board_is_installed_from_the_network(board: Board) -> None:
    trust_what_this_machine_trusts(board)
    if board.run("apt-get update -qq", check=False, timeout_s=600).returncode:
        pytest.skip("the board does not reach a Debian mirror from here")
    service = Service(board)
    service.bring_materials()
    board.run("rm -r /root/wheelhouse")
    service.run_installer(f"--lean /root/{service.model.name}")
    assert "First label: " in service.install_output
    assert service.unit().active == "active"
    assert (
        "installed" in board.run("dpkg-query --show --showformat='${db:Status-Status}' 'libxnnpack0*'").stdout
    )
    assert service.fresh_states(2)


def trust_what_this_machine_trusts(board: Board) -> None:
    """Give the board this machine's authorities: a network may have one of its own."""
    authorities = ssl.get_default_verify_paths().cafile
    if authorities is not None:
        board.run(f"cat >{TRUSTED}", stdin=Path(authorities).read_bytes())
