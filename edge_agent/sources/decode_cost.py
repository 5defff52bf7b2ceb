"""Decides how small a picture is decoded, and computes what that takes at its peak, before it is begun."""

from __future__ import annotations

from edge_agent.lean_dataclass import dataclass
from edge_agent.sources.picture_header import PictureError, PictureHeader

SHORTER_SIDE_PX = 512
"""Pictures are scaled down early, but their shorter side stays at least this long: twice what networks
resize to, so that their own antialiased resize still decides what they see."""

LEAST_SHORTER_SIDE_PX = 256
"""The same where there is no room for more: still what most networks look at."""

_MB = 1 << 20
_BAND_PIXELS = 1 << 15
_JPEG_SCALES = (8, 4, 2, 1)

# Measured by `python -m benchmarks.decoding`, with a reserve.
_SAFETY = 1.1
_FIXED_BYTES = _MB
_BAND_PIXEL_BYTES = 24  # a piece in its own colours, made smaller, in RGB, and its copies


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """How one picture is decoded."""

    header: PictureHeader
    scale: int
    """The decoder itself gives one pixel for so many in each direction: 1, and for JPEG 2, 4 or 8."""
    factor: int
    """So many of those become one pixel of the result, in each direction."""

    @classmethod
    def for_room(cls, header: PictureHeader, room_bytes: int) -> DecodePlan:
        """Return how to decode within `room_bytes`. Raises PictureError, which says what it would take."""
        plans = [cls._with_sides_of(header, side) for side in (SHORTER_SIDE_PX, LEAST_SHORTER_SIDE_PX)]
        for plan in plans:
            if plan.cost_bytes <= room_bytes:
                return plan
        kind = f"{header.kind} {_NAMES[header.format]}".strip()
        raise PictureError(
            f"decoding its {header.width} x {header.height} pixels ({kind}) takes"
            f" {plans[-1].cost_bytes / _MB:.0f} MB of memory, and there is room for"
            f" {max(0, room_bytes) / _MB:.0f}; save it smaller{_ADVICE.get(kind, '')}",
            "too large",
        )

    @classmethod
    def _with_sides_of(cls, header: PictureHeader, shorter_px: int) -> DecodePlan:
        shorter = min(header.width, header.height)
        scales = _JPEG_SCALES if header.format == "JPEG" else (1,)
        scale = next((scale for scale in scales if shorter // scale >= shorter_px), 1)
        return cls(header, scale, max(1, shorter // scale // shorter_px))

    @property
    def decoded_size(self) -> tuple[int, int]:
        """Width and height as the decoder gives them."""
        return _shrunk((self.header.width, self.header.height), self.scale)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result, before it is turned upright."""
        return _shrunk(self.decoded_size, self.factor)

    @property
    def band_rows(self) -> int:
        """How many decoded rows are made into the result's at a time: a multiple of `factor`."""
        return self.factor * max(1, _BAND_PIXELS // (self.decoded_size[0] * self.factor))

    @property
    def cost_bytes(self) -> int:
        """The most memory that decoding takes at any moment, the result included."""
        (width, height), (result_width, result_height) = self.decoded_size, self.size
        band = width * min(self.band_rows, height) * _BAND_PIXEL_BYTES
        pixels = width * height * self.header.pixel_bytes + result_width * result_height * 3
        decoder = self.header.row_bytes + self.header.fixed_bytes
        return round(_SAFETY * (pixels + band + decoder)) + _FIXED_BYTES


_NAMES = {"JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP", "BMP": "BMP"}
_ADVICE = {
    "progressive JPEG": ", or as an ordinary (baseline) JPEG",
    "PNG": ", or as JPEG",
    "WebP": ", or as JPEG",
    "BMP": ", or as JPEG",
}


def _shrunk(size: tuple[int, int], factor: int) -> tuple[int, int]:
    return -(-size[0] // factor), -(-size[1] // factor)
