"""A stored event: its values in a file, and whether what comes back from there can be trusted."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from typing import Any

from edge_agent.config.schema import REGION_NAME
from edge_agent.lean_dataclass import dataclass

OVERHEAD_BYTES = 80
"""Size of a row on disk without its labels, page overhead included: measured on 10,000 rows."""

LARGEST_SEQ = 2**52
"""A number above this is damage: as milliseconds it is far beyond the year 9999. JSON readers hold 2**53."""

COLUMNS = "seq, ts_s, synced, from_label, to_label, score, monotonic_s, boot, crc, region"

_EARLIEST_S = -1e9  # a clock that was never set may be a little before 1970
_LATEST_S = 253_402_300_800.0  # the year 10000, where Python's times end
_LONGEST_UPTIME_S = 1e10
_REGION = re.compile(f"({REGION_NAME})?")


@dataclass(frozen=True, slots=True)
class Row:
    """A stored event, with what is needed to correct its time."""

    seq: int
    ts_s: float
    synced: bool
    from_label: str
    to_label: str
    score: float
    monotonic_s: float
    """The monotonic clock at the moment `ts_s`."""
    boot: str
    """The boot that this monotonic clock belongs to."""
    region: str = ""
    """The part of the picture that it is about; empty for the whole."""

    @property
    def bytes(self) -> int:
        """Its approximate size on disk."""
        return OVERHEAD_BYTES + len(self.from_label.encode()) + len(self.to_label.encode())

    @property
    def is_sound(self) -> bool:
        """Whether it can be published: each number is in its range, and each text can be written as UTF-8."""
        return (
            0 <= self.seq <= LARGEST_SEQ
            and _EARLIEST_S <= self.ts_s < _LATEST_S
            and math.isfinite(self.score)
            and abs(self.monotonic_s) <= _LONGEST_UPTIME_S
            and all(_is_utf8(text) for text in (self.from_label, self.to_label, self.boot))
            and _REGION.fullmatch(self.region) is not None
        )

    def values(self) -> tuple[object, ...]:
        """What is written, in the order of COLUMNS."""
        return (*_plain(self), _checksum(self), self.region)


def decode(values: Sequence[Any]) -> Row | None:
    """Return the row of what was read, in the order of COLUMNS, texts as bytes; None where it is damaged.

    A row of an older release has no checksum, and no region.
    """
    try:
        seq, ts_s, synced, from_label, to_label, score, monotonic_s, boot, crc, region = values
        texts = (text.decode() for text in (from_label, to_label, boot, region or b""))
        old, new, boot, region = texts
        row = Row(seq, ts_s, bool(synced), old, new, score, monotonic_s, boot, region)
        is_typed = isinstance(seq, int) and all(
            isinstance(each, float) for each in (ts_s, score, monotonic_s)
        )
        is_whole = is_typed and synced in (0, 1) and row.is_sound and crc in (None, _checksum(row))
    except (ValueError, TypeError, AttributeError):
        return None
    return row if is_whole else None


def _plain(row: Row) -> tuple[object, ...]:
    return (
        row.seq,
        row.ts_s,
        int(row.synced),
        row.from_label,
        row.to_label,
        row.score,
        row.monotonic_s,
        row.boot,
    )


def _checksum(row: Row) -> int:
    """That of a row without a region is as it was before there were any, which an older release can check."""
    return zlib.crc32(repr(_plain(row)).encode() + row.region.encode())


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
