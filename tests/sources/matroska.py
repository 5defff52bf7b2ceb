"""Writes Matroska videos of JPEG frames, each with a time of its own, as browsers write WebM (RFC 9559)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_EBML, _SEGMENT, _INFO, _TRACKS, _TRACK, _VIDEO, _CLUSTER = (
    "1a45dfa3", "18538067", "1549a966", "1654ae6b", "ae", "e0", "1f43b675",
)  # fmt: skip
_DOC_TYPE, _SCALE, _NUMBER, _UID, _TYPE, _CODEC, _WIDTH, _HEIGHT, _CLUSTER_TIME, _BLOCK = (
    "4282", "2ad7b1", "d7", "73c5", "83", "86", "b0", "ba", "e7", "a3",
)  # fmt: skip
_NANOSECONDS = 1_000_000


def _element(identifier: str, content: bytes | int | str) -> bytes:
    if isinstance(content, int):
        content = content.to_bytes(max(1, (content.bit_length() + 7) // 8), "big")
    data = content.encode() if isinstance(content, str) else content
    return bytes.fromhex(identifier) + (len(data) | 1 << 56).to_bytes(8, "big") + data


def write_matroska(
    path: Path, jpegs: Sequence[bytes], times_ms: Sequence[int], size: tuple[int, int]
) -> None:
    """Write frames without a duration: nothing but their times says how fast they follow each other."""
    video = _element(_VIDEO, _element(_WIDTH, size[0]) + _element(_HEIGHT, size[1]))
    track = b"".join(
        (_element(_NUMBER, 1), _element(_UID, 1), _element(_TYPE, 1), _element(_CODEC, "V_MJPEG"), video)
    )
    clusters = b"".join(
        _element(_CLUSTER, _element(_CLUSTER_TIME, time_ms) + _element(_BLOCK, b"\x81\0\0\x80" + jpeg))
        for jpeg, time_ms in zip(jpegs, times_ms, strict=True)
    )
    info = _element(_INFO, _element(_SCALE, _NANOSECONDS))
    segment = _element(_SEGMENT, info + _element(_TRACKS, _element(_TRACK, track)) + clusters)
    path.write_bytes(_element(_EBML, _element(_DOC_TYPE, "matroska")) + segment)
