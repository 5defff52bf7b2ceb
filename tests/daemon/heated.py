"""`edge-agent` on a board whose /sys and /proc are a made-up tree, named by BOARD_ROOT in the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edge_agent.system.board import Board
from tests.daemon.variant import run_variant

if __name__ == "__main__":
    sys.exit(run_variant(board=Board(Path(os.environ["BOARD_ROOT"]))))
