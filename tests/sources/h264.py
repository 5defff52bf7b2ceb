"""Writes H.264 without an encoder: pictures of plain samples (I_PCM), progressive or as interlaced video."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PAYLOAD_TYPE = 96
_CHUNK = 1200
_MAIN_PROFILE, _LEVEL = 77, 40
_SPS, _PPS, _IDR = 0x67, 0x68, 0x65  # with the highest priority
_I_SLICE, _I_PCM = 7, 25
_GREY = 128


class _Bits:
    """Numbers as H.264 has them (ITU-T H.264, 7.2 and 9.1)."""

    def __init__(self) -> None:
        self._bits = ""

    def fixed(self, value: int, width: int) -> _Bits:
        self._bits += f"{value:0{width}b}"
        return self

    def golomb(self, *values: int) -> _Bits:
        for value in values:
            code = f"{value + 1:b}"
            self._bits += "0" * (len(code) - 1) + code
        return self

    def aligned(self) -> bytes:
        """The bits so far, filled up with zeros; begins anew."""
        bits, self._bits = self._bits, ""
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""


def _unit(kind: int, content: bytes) -> bytes:
    """A NAL unit, in which no start code can be seen (7.4.1)."""
    return bytes([kind]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", content)


@dataclass(frozen=True)
class H264Stream:
    """Pictures for an RtspServer (RFC 6184); the sides are multiples of 32."""

    width: int
    height: int
    interlaced: bool
    """Each picture is then coded as one that may mix frames and fields (MBAFF)."""
    lumas: tuple[NDArray[np.uint8], ...]
    """The brightness of each picture, 0 to 255, shape (height, width)."""

    @property
    def payload_type(self) -> int:
        return _PAYLOAD_TYPE

    @property
    def media(self) -> str:
        """The lines of a session description."""
        sets = ",".join(base64.b64encode(unit).decode() for unit in (self._sequence(), self._picture()))
        return (
            f"m=video 0 RTP/AVP {_PAYLOAD_TYPE}\r\na=rtpmap:{_PAYLOAD_TYPE} H264/90000\r\n"
            f"a=fmtp:{_PAYLOAD_TYPE} packetization-mode=1;sprop-parameter-sets={sets}\r\n"
        )

    def payloads(self, number: int) -> Iterator[bytes]:
        """The RTP payloads of a picture, in fragments (FU-A)."""
        unit = self._slice(number)
        chunks = range(1, len(unit), _CHUNK)
        for start in chunks:
            ends = (start == 1) << 7 | (start == chunks[-1]) << 6
            yield bytes([(unit[0] & 0xE0) | 28, ends | (unit[0] & 31)]) + unit[start : start + _CHUNK]

    def _sequence(self) -> bytes:
        """7.3.2.1: the order of pictures is that of the frames (type 2), one reference."""
        bits = _Bits().fixed(_MAIN_PROFILE, 8).fixed(0, 8).fixed(_LEVEL, 8).golomb(0, 0, 2, 1).fixed(0, 1)
        bits.golomb(self.width // 16 - 1, self.height // (32 if self.interlaced else 16) - 1)
        bits.fixed(1, 1 + self.interlaced)  # frames only: no, and mixed ones: yes; or frames only: yes
        return _unit(_SPS, bits.fixed(0b1001, 4).aligned())

    def _picture(self) -> bytes:
        """7.3.2.2: no entropy coder but the simple one; slices say that nothing is deblocked."""
        bits = _Bits().golomb(0, 0).fixed(0, 2).golomb(0, 0, 0).fixed(0, 3).golomb(0, 0, 0)
        return _unit(_PPS, bits.fixed(0b1001, 4).aligned())

    def _slice(self, number: int) -> bytes:
        """7.3.3: one slice, whose macroblocks are samples."""
        bits = _Bits().golomb(0, _I_SLICE, 0).fixed(0, 4 + self.interlaced)
        bits.golomb(number % 2).fixed(0, 2).golomb(0, 1)
        luma = self.lumas[number % len(self.lumas)]
        data = b""
        for top, left in self._macroblocks():
            if self.interlaced and top % 32 == 0:
                bits.fixed(0, 1)  # this pair of macroblocks is one of frames
            block = luma[top : top + 16, left : left + 16]
            data += bits.golomb(_I_PCM).aligned() + block.tobytes() + bytes([_GREY]) * 128
        return _unit(_IDR, data + b"\x80")

    def _macroblocks(self) -> Iterator[tuple[int, int]]:
        """Top and left of each, in the order of the stream: in pairs, one above the other, if interlaced."""
        rows = 2 if self.interlaced else 1
        for pair in range(0, self.height, 16 * rows):
            for left in range(0, self.width, 16):
                yield from ((pair + 16 * row, left) for row in range(rows))
