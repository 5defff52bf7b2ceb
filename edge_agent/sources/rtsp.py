"""A network camera, by RTSP through OpenCV's FFmpeg."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_agent.config.address import rtsp_address
from edge_agent.config.schema import RtspConfig
from edge_agent.errors import SourceError
from edge_agent.memory.room import Room, command_room
from edge_agent.sources.opencv import Decoder, LiveCapture, StreamRoom, import_cv2
from edge_agent.sources.rtsp_probe import require_stream
from edge_agent.system.lookup import Lookup

_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


def rtsp_source(
    config: RtspConfig,
    timeout_s: float,
    room: Room = command_room,
    clock: Callable[[], float] = time.monotonic,
) -> LiveCapture:
    """Return the camera as a source; `room` returns how many bytes may be taken now. Raises AddressError.

    Only host and port of the URL are ever shown: its user part, path and query may hold a password.
    """
    address = rtsp_address(config.url)
    lookup = Lookup()

    def connect() -> Decoder:
        require_stream(address, timeout_s, clock, lookup)
        cv2 = import_cv2()
        stream_room = StreamRoom.measured(
            room, f"the stream of {address.server}", "take the camera's second, smaller stream"
        )
        limit_ms = math.ceil(timeout_s * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
        with _ffmpeg_options(f"rtsp_transport;{config.transport}"):
            capture = cv2.VideoCapture(str(config.url), cv2.CAP_FFMPEG, limits)
        if not capture.isOpened():
            raise SourceError(
                f"the RTSP server at {address.server} does not give the stream; check the path in"
                " source.rtsp.url, and that the camera sends H.264, H.265 or MJPEG"
            )
        return Decoder(capture, stream_room)

    hint = f"check the camera at {address.host}"
    return LiveCapture(f"rtsp {address.server}", connect, hint, timeout_s, clock)


@contextmanager
def _ffmpeg_options(options: str) -> Iterator[None]:
    """Hand options to FFmpeg by a variable, its only way; the owner's own value of it prevails."""
    if _FFMPEG_OPTIONS in os.environ:
        yield
        return
    os.environ[_FFMPEG_OPTIONS] = options
    try:
        yield
    finally:
        del os.environ[_FFMPEG_OPTIONS]
