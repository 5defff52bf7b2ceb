"""Measures what a further import would add to the daemon, in MB of VmRSS.

  python -m benchmarks.imports [--repeats 5] [MODULE ...]

Without a MODULE: what `edge_agent.system.lean_imports` leaves out. Each is imported in fresh processes, after
all that the daemon loads for a broker without TLS; printed are the median, the lowest and the highest.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence

from edge_agent.tools.measure.table import table

_LEFT_OUT = ("ssl", "urllib.request")
_CHILD = """
import importlib
import sys

from edge_agent.memory.procfs import read_memory
from edge_agent.system.lean_imports import import_paho, import_ssl

import_paho({}, tls=False)
importlib.import_module("edge_agent.daemon.agent")
before_mb = read_memory().rss_mb
import_ssl() if sys.argv[1] == "ssl" else importlib.import_module(sys.argv[1])
print(read_memory().rss_mb - before_mb)
"""


def added_mb(module: str) -> float:
    """Import it in a fresh process; ends this one where that fails, below the other's own words."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, module], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{module} cannot be imported")
    return float(done.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.imports",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("modules", metavar="MODULE", nargs="*", default=_LEFT_OUT)
    parser.add_argument("--repeats", metavar="N", type=int, default=5, help="processes for each (default: 5)")
    args = parser.parse_args(arguments)
    rows = []
    for module in args.modules:
        found = [added_mb(module) for _ in range(args.repeats)]
        figures = (statistics.median_low(found), min(found), max(found))
        rows.append([module, *(f"{figure:.1f}" for figure in figures)])
    print(table(("import", "MB", "lowest", "highest"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
