"""What makes and measures models. Nothing but the commands imports it, and it may use torch."""

from collections.abc import Callable

Report = Callable[[str], None]
"""Takes one line about the progress, to show it."""
