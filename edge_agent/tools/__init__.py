"""What makes and measures models. Nothing but the commands imports it, and it may use torch."""

import sys
from collections.abc import Callable

from edge_agent.system.text import printable

Report = Callable[[str], None]
"""Takes one line about the progress, to show it."""


def to_stderr(line: str) -> None:
    """The `Report` of a command: one line, beside its output, which a script may read."""
    print(printable(line), file=sys.stderr, flush=True)
