"""The label that subscribers know, kept over restarts: an event is about a difference from it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from edge_agent.pipeline.stabilizer import UNKNOWN, LabelChange, Stable
from edge_agent.system.files import write_atomic

_NAME = "last-label"
_LONGEST = 1000


class LastLabel:
    """Remembers the label of the last event. Used by one thread at a time.

    Each change is written to `runtime_dir`, which is in memory and outlives the process; the disk gets the
    label only in `close`. After a loss of power neither has it, and the next label counts as new: a label
    that is out of date would hide a change.
    """

    def __init__(self, state_dir: Path, runtime_dir: Path | None, region: str = "") -> None:
        """Take up what the last process left of a region, by default of the whole picture.

        `runtime_dir`: None where there is none.
        """
        name = f"{_NAME}.{region}" if region else _NAME
        self._on_disk = state_dir / name
        self._in_memory = runtime_dir / name if runtime_dir else None
        kept = (_read(path) for path in (self._in_memory, self._on_disk) if path)
        self._label = next((label for label in kept if label), UNKNOWN)
        with suppress(OSError):
            self._on_disk.unlink(missing_ok=True)

    def change(self, stable: Stable) -> LabelChange | None:
        """The change to announce, if the steadied label, which votes have decided, is another one."""
        if stable.label == self._label:
            return None
        change = LabelChange(self._label, stable.label, stable.score)
        self._label = stable.label
        if self._in_memory:
            with suppress(OSError):
                write_atomic(self._in_memory, self._label)
        return change

    def close(self) -> None:
        """Keep the label over a reboot as well."""
        with suppress(OSError):
            write_atomic(self._on_disk, self._label)


def _read(path: Path) -> str:
    """The label in a file; empty where there is none that could be one."""
    try:
        with path.open(encoding="utf-8") as file:
            label = file.read(_LONGEST + 1)
    except (OSError, ValueError):
        return ""
    return label if len(label) <= _LONGEST and label.isprintable() else ""
