"""Stands in, on the virtual board, for the parts of a Raspberry Pi's camera that QEMU does not have.

There, the real picamera2 captures from libcamera's `virtual` pipeline, which makes frames from pictures. What
is missing is the kernel's DMA heap, a raw stream, and a way to break the sensor:

- buffers come from /dev/udmabuf. They are real DMA buffers, of two planes, as that pipeline wants them;
- the sensor has one mode;
- each frame is a good one: this pipeline (libcamera 0.4) does not say, and leaves their status undefined;
- a frame takes until the camera has started, as exposing it would; the pipeline makes one in no time, which
  picamera2 takes for one of before the start, and loses;
- while the file HANGS exists no frame arrives, while UNPLUGGED exists there is no camera, and while
  MEMORY_USED_UP exists the heap is.

`board_camera.pth` has Python call `install` at its start.
"""

from __future__ import annotations

import errno
import fcntl
import importlib.abc
import importlib.util
import os
import struct
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

HANGS = Path("/run/board-camera/hangs")
UNPLUGGED = Path("/run/board-camera/unplugged")
MEMORY_USED_UP = Path("/run/board-camera/memory-used-up")

_UDMABUF_CREATE = 0x40187542  # _IOW('u', 0x42, struct udmabuf_create)
_UDMABUF_FLAGS_CLOEXEC = 1
_F_ADD_SEALS, _F_SEAL_SHRINK = 1033, 2


def install() -> None:
    """Have picamera2 changed when it is imported."""
    sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "picamera2":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, real: importlib.abc.Loader) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._real.exec_module(module)
        _change_picamera2()


class _With:
    """Something with a few attributes changed."""

    def __init__(self, real: Any, **changed: Any) -> None:
        vars(self).update(changed, _real=real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _change_picamera2() -> None:
    import libcamera
    from picamera2 import picamera2
    from picamera2.allocators import dmaallocator
    from picamera2.dma_heap import UniqueFD

    class Heap:
        """`DmaHeap` on top of /dev/udmabuf."""

        def __init__(self) -> None:
            self._device = os.open("/dev/udmabuf", os.O_RDWR | os.O_CLOEXEC)

        def alloc(self, _name: str, size: int) -> UniqueFD:
            if MEMORY_USED_UP.exists():
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            page = os.sysconf("SC_PAGE_SIZE")
            length = -(-size // page) * page
            memory = os.memfd_create("board-camera", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                os.ftruncate(memory, length)
                fcntl.fcntl(memory, _F_ADD_SEALS, _F_SEAL_SHRINK)
                # A mutable buffer: with one, `ioctl` returns what the kernel does, which is the new file.
                request = bytearray(struct.pack("IIQQ", memory, _UDMABUF_FLAGS_CLOEXEC, 0, length))
                return UniqueFD(fcntl.ioctl(self._device, _UDMABUF_CREATE, request))
            finally:
                os.close(memory)

        def close(self) -> None:
            os.close(self._device)

    def frame_buffer(planes: list[Any]) -> Any:
        """`libcamera.FrameBuffer` for NV12: the one plane that picamera2 describes, as luma and chroma."""
        (luma,) = planes  # itself, and no copy, which would have another file number
        chroma = libcamera.FrameBuffer.Plane()
        chroma.fd = luma.fd
        chroma.offset = luma.length * 2 // 3
        chroma.length = luma.length - chroma.offset
        luma.length = chroma.offset
        return libcamera.FrameBuffer([luma, chroma])

    frame_buffer.Plane = libcamera.FrameBuffer.Plane  # type: ignore[attr-defined]

    status = libcamera.FrameMetadata.Status

    class AnyStatus(status):  # type: ignore[misc, valid-type]
        """Equal to every status. (As a subclass it is asked first.)"""

        def __eq__(self, other: object) -> bool:
            return isinstance(other, status)

        __hash__ = status.__hash__

    success = _With(status, Success=AnyStatus(int(status.Success)))
    picamera2.libcamera = _With(libcamera, FrameMetadata=_With(libcamera.FrameMetadata, Status=success))
    dmaallocator.DmaHeap = Heap
    dmaallocator.libcamera = _With(libcamera, FrameBuffer=frame_buffer)
    picamera2.Picamera2._get_raw_modes = lambda _self: [{"format": "SRGGB10", "size": (640, 480)}]

    handle_request = picamera2.CameraManager.handle_request

    def handle_request_in_time(self: Any, flushid: object = None) -> None:
        has_started = all(camera.started for camera in list(self.cameras.values()))
        if flushid is None and (HANGS.exists() or UNPLUGGED.exists() or not has_started):
            time.sleep(0.02)
        else:
            handle_request(self, flushid)

    picamera2.CameraManager.handle_request = handle_request_in_time

    global_camera_info = picamera2.Picamera2.global_camera_info
    picamera2.Picamera2.global_camera_info = staticmethod(
        lambda: [] if UNPLUGGED.exists() else global_camera_info()
    )
