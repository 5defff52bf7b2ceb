"""A board whose install.sh took torch unasked is upgraded to a release without it; --torch brings it back.

An emulated core takes minutes for `import torch`: only with EDGE_AGENT_BOARD_TORCH=1.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.board import materials
from tests.board.board import HERE, Board
from tests.board.service import CONFIG_FILE, Service

# The last commit whose install.sh installed torch wherever no --lean was given.
TORCH_UNASKED = "ef54fb6be6ef26b65ab146aa9bb303aaea48bc51"

pytestmark = pytest.mark.skipif(
    "EDGE_AGENT_BOARD_TORCH" not in os.environ, reason="takes hours: EDGE_AGENT_BOARD_TORCH=1"
)


@pytest.fixture(scope="module")
def released(board: Board) -> Service:
    """The service, installed on a clean board from that release, with torch."""
    if subprocess.run(["git", "-C", HERE, "cat-file", "-e", TORCH_UNASKED], check=False).returncode:
        pytest.skip(f"this clone does not reach back to {TORCH_UNASKED}")
    service = Service(board, materials.resnet18_model())
    service.bring_materials()
    service.bring_release(TORCH_UNASKED)
    service.install_torch(options="")
    return service


def test_an_upgrade_leaves_torch_out_and_the_old_release_stays_the_way_back(released: Service) -> None:
    config = released.read(CONFIG_FILE)
    released.bring_checkout()
    released.run_installer("--upgrade --offline /root/wheelhouse")
    assert "Torch: not in the new release" in released.install_output
    assert "First label: " in released.install_output
    assert not released.has_torch()
    assert released.has_torch("previous")
    assert released.read(CONFIG_FILE) == config
    assert released.unit().active == "active"


def test_with_torch_asked_for_it_is_there_and_stays_with_the_next_upgrade(released: Service) -> None:
    released.install_torch()
    assert released.has_torch()
    released.run_installer("--upgrade --offline /root/wheelhouse-torch")
    assert released.has_torch()
