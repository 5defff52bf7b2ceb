"""A Raspberry Pi camera through picamera2, which is imported when the camera is opened."""

from __future__ import annotations

import errno
import gc
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from edge_agent.config.schema import Picamera2Config
from edge_agent.errors import ConfigError, SourceError
from edge_agent.frame import WHOLE, Box, Frame
from edge_agent.sources.crop import Rectangle, crop_for, window_of
from edge_agent.sources.pixels import StreamFormat, to_rgb

_LOG = logging.getLogger(__name__)

_BUFFERS = 4
_SHORTEST_FRAME_US = 33_333
_LONGEST_FRAME_US = 200_000


class Picamera2Source:
    """The camera's `lores` stream, scaled by its own hardware (ISP), as RGB.

    After a capture that failed, the same Picamera2 object is stopped and started again, which is quick and
    leaks nothing; if that does not help, it is released and a new one made. Closing the source after
    a successful capture releases the camera for other programs.

    A part of the picture that it is told to focus on is cut out of the sensor's picture by the ISP
    (libcamera's ScalerCrop), before it is made smaller.
    """

    def __init__(
        self,
        config: Picamera2Config,
        fps: float,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fps`: how often a frame will be read (0: as often as possible). Raises ConfigError."""
        if config.lores_width > config.width or config.lores_height > config.height:
            raise ConfigError(
                f"source.picamera2: the lores stream, {config.lores_width} x {config.lores_height}, may not"
                f" be larger than the main stream, {config.width} x {config.height}"
            )
        self._config = config
        self._fps = fps
        self._timeout_s = timeout_s
        self._clock = clock
        self._camera: Any = None
        self._running = False
        self._stream = StreamFormat("YUV420", config.lores_width, config.lores_height)
        self._failures = 0
        self._frames = 0
        self._model = ""
        self._focus: Box | None = None
        self._whole: Rectangle | None = None
        self._asked: Rectangle | None = None

    @property
    def live(self) -> bool:
        return True

    @property
    def description(self) -> str:
        model = f" ({self._model})" if self._model else ""
        return f"picamera2 {self._config.camera}{model}"

    def open(self) -> None:
        """Start the camera. Raises SourceError."""
        try:
            if self._camera is None:
                self._camera = _make_camera(self._config.camera)
                self._configure(self._camera)
            else:
                # picamera2 forgets the controls once the camera has started.
                self._camera.set_controls(self._camera.camera_configuration()["controls"])
            self._asked = None
            if self._focus is not None:
                self._aim()
            self._camera.start()
        except SourceError:
            self._release()
            raise
        except Exception as error:
            # picamera2 and libcamera raise RuntimeError for nearly everything, OSError for the rest.
            failure = self._explained(error)
            self._release()
            raise failure from error
        self._running = True

    def read(self) -> Frame:
        """Return the next frame. Raises SourceError when none came in time."""
        started_s = self._clock()
        try:
            (array,), metadata = self._camera.capture_arrays(["lores"], wait=self._timeout_s)
            window = self._window(metadata)
        except TimeoutError as error:
            self._failures += 1
            raise SourceError(
                f"{self.description} gave no picture within {self._timeout_s:g} s; check that its ribbon"
                " cable sits firmly, and the kernel's log (`dmesg`)"
            ) from error
        except Exception as error:
            self._failures += 1
            raise self._explained(error) from error
        pixels = to_rgb(array, self._stream)
        ended_s = self._clock()
        self._failures = 0
        self._frames += 1
        return Frame(self._frames, ended_s, (ended_s - started_s) * 1000, pixels, window=window)

    def focus(self, box: Box | None) -> None:
        """Show little more than a part of the picture, from the next frames on; None: all of it.

        The frames that are under way then still show what was asked for before, and say so.
        """
        self._focus = box

    def close(self) -> None:
        """Stop the camera; release it too, unless the first attempt after a failed capture comes next."""
        if self._running and self._failures == 1:
            self._halt()
        else:
            self._release()
        self._running = False

    def _configure(self, camera: Any) -> None:
        import libcamera

        config = self._config
        self._model = str(camera.camera_properties.get("Model", ""))
        wanted = camera.create_video_configuration(
            # libcamera requires a main stream: take its cheapest format.
            main={"size": (config.width, config.height), "format": "YUV420"},
            lores={"size": (config.lores_width, config.lores_height), "format": "YUV420"},
            raw=None,
            transform=libcamera.Transform(hflip=config.hflip, vflip=config.vflip),
            colour_space=libcamera.ColorSpace.Sycc(),
            buffer_count=_BUFFERS,
            controls=self._controls(camera),
            display=None,
            encode=None,
            queue=False,  # a capture waits for a frame taken after it was asked for, never an old one
        )
        camera.configure(wanted)
        actual = camera.camera_configuration()
        width, height = actual["lores"]["size"]
        space = actual["colour_space"]  # None where the camera does not say
        full_range = space is None or space.range == libcamera.ColorSpace.Range.Full
        self._stream = StreamFormat(actual["lores"]["format"], width, height, full_range)
        self._whole = _whole_picture(camera)

    def _controls(self, camera: Any) -> dict[str, Any]:
        """At night let the exposure last as long as the rate of frames allows, up to a fifth of a second."""
        if "FrameDurationLimits" not in camera.camera_controls:
            return {}
        period_us = round(1e6 / self._fps) if self._fps > 0 else _SHORTEST_FRAME_US
        longest_us = min(max(period_us, _SHORTEST_FRAME_US), _LONGEST_FRAME_US)
        return {"FrameDurationLimits": (_SHORTEST_FRAME_US, longest_us)}

    def _aim(self) -> None:
        """Ask the camera for the crop that shows what is looked at, unless that was asked for last."""
        if self._whole is None or (crop := self._wanted(self._whole)) == self._asked:
            return
        # A Pi 5 crops each stream on its own, by a control that overrules the other; picamera2 sets it.
        is_by_stream = "ScalerCrops" in self._camera.camera_controls
        self._camera.set_controls({"ScalerCrops": [crop, crop]} if is_by_stream else {"ScalerCrop": crop})
        self._asked = crop

    def _wanted(self, whole: Rectangle) -> Rectangle:
        if self._focus is None:
            return whole
        return crop_for(self._focus, whole, self._stream.width / self._stream.height)

    def _window(self, metadata: dict[str, Any]) -> Box:
        """What a frame shows, as the camera says of this very frame; has another crop made where one is due.

        The sensor itself mirrors its picture, so a crop is one of the picture as it is given, too.
        """
        shown = metadata.get("ScalerCrop", self._asked)
        if self._whole is None or shown is None:
            return WHOLE
        if shown != self._wanted(self._whole):
            self._aim()
        return window_of(shown, self._whole)

    def _halt(self) -> None:
        """Stop capturing but keep the object: configured, and with its buffers."""
        with _tidying_up("stopping the camera"):
            # A capture that timed out still waits in the queue, and would take the next frame there is.
            self._camera.cancel_all_and_flush()
            # Ends picamera2's own thread; without it `stop` would wait for that thread, which may be dead.
            self._camera.stop_preview()
            self._camera.stop()

    def _release(self) -> None:
        camera, self._camera = self._camera, None
        if camera is None:
            return
        with _tidying_up("closing the camera"):
            camera.cancel_all_and_flush()
            camera.close()
        del camera
        gc.collect()  # it is part of reference cycles, which hold its buffers and a file of the DMA heap

    def _explained(self, error: Exception) -> SourceError:
        return SourceError(f"{self.description}: {_explanation(error)}")


def _make_camera(number: int) -> Any:
    """Return the opened camera, a Picamera2. Raises SourceError, or whatever picamera2 raises."""
    # libcamera would log a line at each start: too much for a journal on an SD card.
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:WARN")
    os.environ.setdefault("LIBCAMERA_LOG_NO_COLOR", "1")
    try:
        from picamera2 import Picamera2
    except ImportError as error:
        raise SourceError(
            f"picamera2 cannot be imported ({error}); install it with `apt install python3-picamera2`, and"
            " make the agent's environment with `--system-site-packages` so that it sees it"
        ) from error
    cameras = len(Picamera2.global_camera_info())
    if number >= cameras:
        raise SourceError(
            f"there is no camera {number}: libcamera finds {cameras}; check the ribbon cable, and what"
            " `rpicam-hello --list-cameras` says"
        )
    camera = Picamera2.__new__(Picamera2)
    try:
        camera.__init__(number)
    except Exception:
        # A constructor that fails leaves its notification pipe open: one file for each attempt.
        if not camera.is_open:
            camera.notifymeread.close()
            with suppress(OSError):
                os.close(camera.notifyme_w)
        raise
    return camera


def _whole_picture(camera: Any) -> Rectangle | None:
    """The crop that shows the whole picture, in this mode of the sensor; None where none can be chosen."""
    _, _, usual = camera.camera_controls.get("ScalerCrop", (None, None, None))
    if not isinstance(usual, tuple) or len(usual) != 4 or min(usual[2:]) <= 0:
        return None  # a pipeline may know the control, and no limits of it
    return usual


def _explanation(error: BaseException) -> str:
    """Say what went wrong and what to do, from the chain of exceptions below `error`."""
    chain = list(_chain(error))
    numbers = {cause.errno for cause in chain if isinstance(cause, OSError)}
    text = "; ".join(dict.fromkeys(str(cause) or type(cause).__name__ for cause in chain))
    if errno.EBUSY in numbers or "busy" in text.lower():
        return f"another program uses the camera: stop it (`fuser -v /dev/media*` names it) [{text}]"
    if errno.ENOMEM in numbers or "allocate" in text.lower():
        return (
            "the kernel's memory for cameras (CMA) is used up: make source.picamera2.width and height"
            " smaller, or give it more in /boot/firmware/config.txt (dtoverlay=vc4-kms-v3d,cma-256)"
            f" [{text}]"
        )
    if errno.EACCES in numbers or "dmaheap" in text.lower():
        return (
            "the camera's memory (/dev/dma_heap) may not be used by this user: add it to the group `video`"
            f" [{text}]"
        )
    return text


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def _tidying_up(action: str) -> Iterator[None]:
    """Ignore a failure while cleaning up; the debug log has it."""
    try:
        yield
    except Exception as error:
        _LOG.debug("%s failed: %s", action, error)
