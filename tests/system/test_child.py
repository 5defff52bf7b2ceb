"""A module that is started again imports nothing of the current directory."""

from __future__ import annotations

import subprocess
from pathlib import Path

from edge_agent.system.child import python_module


def test_a_module_in_the_current_directory_is_not_imported(tmp_path: Path) -> None:
    for name in ("json.py", "argparse.py", "edge_agent.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong one')\n")
    done = subprocess.run(
        python_module("edge_agent", "--version"), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("edge-agent "), done.stderr
