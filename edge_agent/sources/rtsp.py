"""A network camera, by RTSP through OpenCV's FFmpeg."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edge_agent.config.address import rtsp_address
from edge_agent.config.schema import RtspConfig
from edge_agent.errors import SourceError
from edge_agent.sources.opencv import LiveCapture, import_cv2

_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


def rtsp_source(
    config: RtspConfig, timeout_s: float, clock: Callable[[], float] = time.monotonic
) -> LiveCapture:
    """Return the camera as a source. Raises AddressError.

    Only host and port of the URL are ever shown: its user part, path and query may hold a password.
    """
    parts = rtsp_address(config.url)
    host, port = parts.host, parts.port
    address = f"{host}:{port}"

    def connect() -> Any:
        _require_reachable(host, port, timeout_s)
        cv2 = import_cv2()
        limit_ms = math.ceil(timeout_s * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
        with _ffmpeg_options(f"rtsp_transport;{config.transport}"):
            capture = cv2.VideoCapture(str(config.url), cv2.CAP_FFMPEG, limits)
        if not capture.isOpened():
            raise SourceError(
                f"the RTSP server at {address} does not give the stream; check the path, the user and the"
                " password in source.rtsp.url"
            )
        return capture

    return LiveCapture(f"rtsp {address}", connect, f"check the camera at {host}", timeout_s, clock)


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


def _require_reachable(host: str, port: int, timeout_s: float) -> None:
    """Raise SourceError for a server that cannot be reached; OpenCV would report it like a refusal."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError as error:
        raise SourceError(
            f"cannot reach the RTSP server at {host}:{port}: {error.strerror or error}; check the network,"
            " the camera and source.rtsp.url"
        ) from error
