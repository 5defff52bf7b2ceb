"""`edge-agent` on a board whose /sys and /proc are a made-up tree, named by BOARD_ROOT in the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest.mock import patch

from edge_agent import cli
from edge_agent.system.board import Board

if __name__ == "__main__":
    with patch("edge_agent.daemon.agent.Board", lambda: Board(Path(os.environ["BOARD_ROOT"]))):
        sys.exit(cli.main())
