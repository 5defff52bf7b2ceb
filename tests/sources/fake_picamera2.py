# ruff: noqa: ARG002, B006 - parameters and defaults are those of the real package
"""Stands in for the modules picamera2 and libcamera on machines that have no Raspberry Pi camera.

Its methods have the signatures of the real ones, which test_picamera2_signatures.py checks against the real
package. It does whatever matters to a program that runs for months: it opens files and a
thread, and leaves them open where the real one does; it refuses calls in the wrong order; it hangs where
the real one would hang.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections import deque
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass
class FakeBoard:
    """The hardware: which cameras there are, and what is wrong with them."""

    models: list[str] = field(default_factory=lambda: ["imx708"])
    lores_format: str = "YUV420"
    lores_padding: int = 0
    """Bytes at the end of each row of luma, as the ISP's alignment makes them."""
    full_range: bool = True
    colour: tuple[int, int, int] = (150, 100, 200)
    """Y, Cb, Cr of every pixel."""
    controls: dict[str, tuple[Any, Any, Any]] = field(
        default_factory=lambda: {"FrameDurationLimits": (100, 10**9, 33333)}
    )
    sensor: tuple[int, int] | None = None
    """Width and height, for a camera whose picture can be cropped; None for one that cannot."""
    scene: NDArray[np.uint8] | None = None
    """What the sensor sees, as luma, of its size; None for a plain picture."""
    is_pi_5: bool = False
    """Whether each stream has a crop of its own."""
    frames_under_way: int = 3
    """How many frames come before one that a new control has an effect on."""
    least_crop: tuple[int, int] = (64, 64)
    busy: bool = False
    memory_used_up: bool = False
    start_fails: bool = False
    hangs: int = 0
    """How many captures get no frame."""
    hangs_until_made_anew: bool = False

    made: int = 0
    acquired: int = 0
    starts: int = 0
    configured: dict[str, Any] = field(default_factory=dict)
    controls_at_start: list[dict[str, Any]] = field(default_factory=list)
    live_threads: int = 0
    crops_asked: list[Crop] = field(default_factory=list)


Crop = tuple[int, int, int, int]


class Allocator:
    """Holds a file of the DMA heap open until it is collected, like the real one."""

    def __init__(self) -> None:
        self._heap = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        os.close(self._heap)


class Picamera2:
    """The methods of the real class that the agent calls."""

    board: ClassVar[FakeBoard]

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        models = enumerate(Picamera2.board.models)
        return [{"Model": model, "Num": number, "Id": f"/base/i2c/{model}"} for number, model in models]

    def __init__(
        self, camera_num: int = 0, verbose_console: Any = None, tuning: Any = None, allocator: Any = None
    ) -> None:
        read_end, self.notifyme_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.notifymeread = os.fdopen(read_end, "rb")
        self.is_open = False
        self._preview: threading.Thread | None = None
        self._stop_preview = threading.Event()
        self._started = False
        self._config: dict[str, Any] = {}
        self._controls: dict[str, Any] = {}
        self._waiting_jobs = 0
        self._hung = False
        self._crop: Crop | None = None
        self._crops_under_way: deque[Crop] = deque()
        self._me = self  # a reference cycle, as the real object has several
        if camera_num >= len(self.board.models):
            raise RuntimeError(f"No camera number {camera_num} found")
        if self.board.busy or self.board.acquired:
            try:
                raise RuntimeError("Failed to acquire camera: Device or resource busy")
            except RuntimeError as error:
                raise RuntimeError("Camera __init__ sequence did not complete.") from error
        self._number = camera_num
        self.board.made += 1
        self.board.acquired += 1
        self.is_open = True
        self.allocator: Allocator | None = Allocator()

    @property
    def camera_properties(self) -> dict[str, Any]:
        return {"Model": self.board.models[self._number]}

    @property
    def camera_controls(self) -> dict[str, tuple[Any, Any, Any]]:
        crop = {"ScalerCrop": self._crop_limits} if self.board.sensor else {}
        crops = {"ScalerCrops": (self._crop_limits[2],) * 3} if crop and self.board.is_pi_5 else {}
        return self.board.controls | crop | crops

    @property
    def _crop_limits(self) -> tuple[Crop, Crop, Crop]:
        """The least, the most, and the usual: the largest about the middle that has the shape of `main`."""
        assert self.board.sensor is not None
        width, height = self.board.sensor
        if not self._config:  # before a mode of the sensor is chosen
            return (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)
        aspect = Fraction(*self._config["main"]["size"])
        wide, high = min(width, int(height * aspect)), min(height, int(width / aspect))
        usual = ((width - wide) // 2, (height - high) // 2, wide, high)
        return (0, 0, *self.board.least_crop), (0, 0, width, height), usual

    def create_video_configuration(
        self,
        main: Any = {},
        lores: Any = None,
        raw: Any = {},
        transform: Any = "libcamera.Transform()",
        colour_space: Any = None,
        buffer_count: Any = 6,
        controls: Any = {},
        display: Any = "main",
        encode: Any = "main",
        queue: Any = True,
        sensor: Any = {},
        use_case: Any = "video",
    ) -> dict[str, Any]:
        for stream in (main, lores):
            assert set(stream) <= {"format", "size", "stride", "preserve_ar"}
        unknown = set(controls) - set(self.board.controls)
        assert not unknown, f"Control {unknown} is not advertised by libcamera"
        # Odd sizes are made even, as by align_stream().
        streams = {
            name: dict(stream, size=tuple(side - side % 2 for side in stream["size"]))
            for name, stream in (("main", main), ("lores", lores))
        }
        return {
            **streams,
            "raw": raw,
            "transform": transform,
            "colour_space": colour_space,
            "buffer_count": buffer_count,
            "controls": controls,
            "display": display,
            "encode": encode,
            "queue": queue,
        }

    def configure(self, camera_config: Any = None) -> None:
        assert not self._started, "Camera must be stopped before configuring"
        if self.board.memory_used_up:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        lores = dict(camera_config["lores"], format=self.board.lores_format)
        space = ColorSpace(
            "Sycc", ColorSpace.Range.Full if self.board.full_range else ColorSpace.Range.Limited
        )
        self._config = dict(camera_config, lores=lores, colour_space=space)
        self._controls = dict(camera_config["controls"])
        self.board.configured = self._config
        if self.board.sensor:
            self._crop = self._crop_limits[2]
        if "ScalerCrops" in self.camera_controls:
            self.set_controls({"ScalerCrops": [self._crop_limits[2]] * 2})

    def camera_configuration(self) -> dict[str, Any]:
        return self._config

    def set_controls(self, controls: Any) -> None:
        unknown = set(controls) - set(self.camera_controls)
        assert not unknown, f"Control {unknown} is not advertised by libcamera"
        self._controls.update(controls)
        if self._started:
            self._crops_under_way += [self._crop or self._crop_limits[2]] * (
                self.board.frames_under_way - len(self._crops_under_way)
            )
            self._apply_crop()

    def _apply_crop(self) -> None:
        """As libcamera's pipeline does it: never smaller than it can, and within the sensor."""
        crops = self._controls.pop("ScalerCrops", None)
        crop = self._controls.pop("ScalerCrop", None)
        if crops or crop:
            left, top, width, height = crops[1] if crops else crop
            (_, _, least_width, least_height), (_, _, most_width, most_height), _ = self._crop_limits
            wide, high = max(width, least_width), max(height, least_height)
            left, top = left - (wide - width) // 2, top - (high - height) // 2
            left, top = max(0, min(left, most_width - wide)), max(0, min(top, most_height - high))
            self._crop = (left, top, wide, high)
            self.board.crops_asked.append(tuple(crops[1] if crops else crop))

    def start(self, config: Any = None, show_preview: Any = False) -> None:
        assert self._config, "Camera has not been configured"
        assert config is None
        assert not self._waiting_jobs, "the first frames would go to captures that nobody waits for any more"
        if self._preview is None:
            self._stop_preview.clear()
            self._preview = threading.Thread(target=self._stop_preview.wait, daemon=True)
            self._preview.start()
            self.board.live_threads += 1
        if self.board.start_fails:
            raise RuntimeError("Failed to start camera: Input/output error")
        self.board.starts += 1
        self.board.controls_at_start.append(dict(self._controls))
        self._apply_crop()
        self._crops_under_way.clear()
        self._controls = {}  # the real one forgets them here
        self._started = True

    def capture_arrays(self, names: Any = ["main"], wait: Any = None, signal_function: Any = None) -> Any:
        assert self._started
        assert isinstance(wait, float), "a capture without a timeout may hang forever"
        if self.board.hangs or self._hung:
            self.board.hangs = max(0, self.board.hangs - 1)
            self._hung = self.board.hangs_until_made_anew
            self._waiting_jobs += 1
            raise FutureTimeoutError
        metadata: dict[str, Any] = {"ExposureTime": 10_000}
        shown: Crop | None = None
        if self.board.sensor:
            shown = self._crops_under_way.popleft() if self._crops_under_way else self._crop
            metadata["ScalerCrop"] = shown
        return [
            lores_array(self.board, self._config[name], self._read_out(), shown) for name in names
        ], metadata

    def _read_out(self) -> NDArray[np.uint8] | None:
        """What the sensor sees, as it sends it: it mirrors the picture itself, so before any crop."""
        scene, transform = self.board.scene, self._config["transform"]
        if scene is None:
            return None
        return scene[:: -1 if transform.vflip else 1, :: -1 if transform.hflip else 1]

    def cancel_all_and_flush(self) -> None:
        self._waiting_jobs = 0

    def stop_preview(self) -> None:
        if self._preview is None:
            raise RuntimeError("No preview specified.")
        self._stop_preview.set()
        self._preview.join()
        self._preview = None
        self.board.live_threads -= 1

    def stop(self) -> None:
        if self._started and self._preview is not None and self._waiting_jobs:
            raise AssertionError("stop() would wait forever behind the capture that hangs")
        self._started = False

    def close(self) -> None:
        if self._preview is not None:
            self.stop_preview()
        if not self.is_open:
            return
        self.stop()
        self.board.acquired -= 1
        self.is_open = False
        self.notifymeread.close()
        os.close(self.notifyme_w)
        self.allocator = None
        self.allocator = Allocator()  # the real one opens the heap once more


class ColorSpace:
    """The part of libcamera.ColorSpace that is used."""

    Range = SimpleNamespace(Full="Full", Limited="Limited")

    def __init__(self, name: str, range_: str) -> None:
        self.name = name
        self.range = range_

    @staticmethod
    def Sycc() -> ColorSpace:  # noqa: N802
        return ColorSpace("Sycc", ColorSpace.Range.Full)


@dataclass(frozen=True)
class Transform:
    """libcamera.Transform."""

    hflip: bool = False
    vflip: bool = False


def lores_array(
    board: FakeBoard, stream: dict[str, Any], scene: NDArray[np.uint8] | None, crop: Crop | None
) -> NDArray[np.uint8]:
    """A picture in the format of the stream, laid out as the real capture_array lays it out."""
    width, height = stream["size"]
    luma: Any
    luma, blue, red = board.colour
    if scene is not None and crop is not None:
        left, top, wide, high = crop
        rows = top + ((np.arange(height) + 0.5) * high / height).astype(int)
        columns = left + ((np.arange(width) + 0.5) * wide / width).astype(int)
        luma, blue, red = scene[np.ix_(rows, columns)], 128, 128
    if stream["format"] in ("RGB888", "BGR888"):
        return np.full((height, width, 3), board.colour, np.uint8)
    stride = width + board.lores_padding
    array = np.zeros((height * 3 // 2, stride), np.uint8)
    array[:height, :width] = luma
    if stream["format"] == "NV12":
        array[height:, 0:width:2], array[height:, 1:width:2] = blue, red
        return np.ascontiguousarray(array[:, :width])
    half_rows = array[height:].reshape(height, stride // 2)
    half_rows[: height // 2, : width // 2] = blue
    half_rows[height // 2 :, : width // 2] = red
    return array


def install(monkeypatch: pytest.MonkeyPatch, board: FakeBoard) -> None:
    """Make `import picamera2` and `import libcamera` find the fakes."""
    monkeypatch.setattr(Picamera2, "board", board, raising=False)
    picamera2, libcamera = ModuleType("picamera2"), ModuleType("libcamera")
    picamera2.Picamera2 = Picamera2  # type: ignore[attr-defined]
    libcamera.ColorSpace = ColorSpace  # type: ignore[attr-defined]
    libcamera.Transform = Transform  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", picamera2)
    monkeypatch.setitem(sys.modules, "libcamera", libcamera)


def real_package() -> Path | None:
    """Where the real picamera2 was put: as a wheel in the cache of this repository."""
    cache = Path(__file__).parents[2] / ".cache"
    return max(cache.glob("picamera2-*.whl"), default=None)
