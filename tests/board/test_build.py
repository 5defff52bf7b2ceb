"""The model built on the board, without torch, in the memory that a board of 512 MB has."""

from __future__ import annotations

import json
import time

import pytest

from tests.board import materials
from tests.board.board import Board
from tests.board.service import Service

# What such a board has left beside its system. The board has more, so a control group holds it to this.
_UNDER = "systemd-run --scope --quiet --property=MemoryMax=350M --property=MemorySwapMax=0"


@pytest.fixture(scope="module")
def built(board: Board) -> Service:
    """The service, whose model install.sh has built of a state dict."""
    service = Service(board)
    service.bring_materials()
    weights = materials.resnet18_weights()
    board.push([weights], "/root")
    began = time.monotonic()
    given = f"--weights /root/{weights.name} --arch resnet18 --offline /root/wheelhouse"
    service.run_installer(given, under=_UNDER)
    print(f"installed, built and labelled in {time.monotonic() - began:.0f} s of emulation")
    return service


def test_a_board_of_512_mb_builds_its_own_model(built: Service) -> None:
    assert "First label: " in built.install_output
    assert built.unit().active == "active"
    sidecar = json.loads(built.read("/var/lib/edge-agent/model/model.json"))
    assert sidecar["arch"] == "resnet18"
    assert built.fresh_states()[0]["model"]["sha256"] == sidecar["sha256"]


@pytest.mark.usefixtures("built")
def test_torch_was_not_needed(board: Board) -> None:
    asked = "/opt/edge-agent/current/bin/python -c 'import torch' 2>/dev/null || echo no torch"
    assert "no torch" in board.run(asked).stdout
