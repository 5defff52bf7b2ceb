"""Makes the source that the configuration asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.config.schema import SourceConfig
from edge_agent.errors import ConfigError
from edge_agent.memory.room import Room, command_room
from edge_agent.sources import Source


def make_source(
    config: SourceConfig, room: Room = command_room, clock: Callable[[], float] = time.monotonic
) -> Source:
    """Return the configured source, not opened. Raises ConfigError for settings that make no source.

    `room` returns how many bytes decoding a picture may take just now.
    Only the module of that source is imported, and its camera library not before it is opened.
    """
    if config.type == "picamera2":
        from edge_agent.sources.picamera2 import Picamera2Source

        return Picamera2Source(config.picamera2, config.fps, config.timeout_s, clock)
    if config.type == "v4l2":
        from edge_agent.sources.v4l2 import v4l2_source

        return v4l2_source(config.v4l2, config.timeout_s, room, clock)
    if config.type == "rtsp":
        from edge_agent.sources.rtsp import rtsp_source

        return rtsp_source(config.rtsp, config.timeout_s, room, clock)
    if config.type == "http":
        from edge_agent.sources.http.source import HttpSource

        return HttpSource(config.http, config.timeout_s, room, clock)
    if config.type == "file":
        from edge_agent.sources.video import VideoFileSource

        video = _required(config.file.path, "source.file.path")
        return VideoFileSource(video, loop=config.file.loop, fps=config.fps, room=room, clock=clock)
    from edge_agent.sources.folder import FolderSource

    folder = _required(config.folder.path, "source.folder.path")
    return FolderSource(
        folder,
        loop=config.folder.loop,
        recursive=config.folder.recursive,
        live=config.fps > 0,
        room=room,
        clock=clock,
    )


def _required(path: Path | None, key: str) -> Path:
    if path is None:
        raise ConfigError(f"{key} is not set; it says what to play")
    return path
