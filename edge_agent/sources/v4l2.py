"""A USB camera, or another one that the kernel shows as /dev/video*, through OpenCV."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.config.schema import V4l2Config
from edge_agent.errors import SourceError
from edge_agent.memory.room import Room, command_room
from edge_agent.sources.opencv import Decoder, LiveCapture, StreamRoom, import_cv2


def v4l2_source(
    config: V4l2Config,
    timeout_s: float,
    room: Room = command_room,
    clock: Callable[[], float] = time.monotonic,
) -> LiveCapture:
    """Return the camera as a source; `config.device` is a device file or its number.

    `room` returns how many bytes may be taken now.
    """
    device = Path(f"/dev/video{config.device}" if config.device.isdecimal() else config.device)
    hint = (
        f"see whether another program uses it (`fuser -v {device}`) and whether it is a camera at all"
        " (`v4l2-ctl --list-devices`)"
    )

    def connect() -> Decoder:
        _require_camera(device)
        cv2 = import_cv2(timeout_s)
        stream_room = StreamRoom.measured(room, str(device), "set a smaller source.v4l2.width and height")
        capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
        if not capture.isOpened():
            raise SourceError(f"{device} cannot be opened as a camera; {hint}")
        # A camera may choose other values than it is asked for; any size is fine.
        if config.fourcc:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*config.fourcc))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, config.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, config.height)
        return Decoder(capture, stream_room)

    return LiveCapture(f"v4l2 {device}", connect, hint, timeout_s, clock)


def _require_camera(device: Path) -> None:
    if not device.exists():
        present = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
        raise SourceError(
            f"{device} does not exist (cameras here: {present}); plug it in, or set source.v4l2.device"
        )
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError as error:
        # EPERM is not about the file's owner and mode: a control group forbids the device itself.
        if error.errno == errno.EPERM:
            raise SourceError(
                f"{device} is not among the devices that this service may use; see DeviceAllow in its unit"
                " (`systemctl cat edge-agent`)"
            ) from error
        raise SourceError(
            f"{device} may not be used by this user; add it to the group `video`, for instance with"
            " `usermod -a -G video USER`"
        ) from error
    except OSError:
        return  # busy, or no device any more: opening it as a camera says more
