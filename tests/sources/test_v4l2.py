"""V4L2 cameras: what is refused on a machine without one, and how one would be asked for."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.config.schema import V4l2Config
from edge_agent.errors import SourceError
from edge_agent.sources.opencv import StreamTooLargeError
from edge_agent.sources.v4l2 import v4l2_source

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")


class FakeVideoCapture:
    """A V4L2 device that gives three pictures and then hangs until OpenCV's own timeout."""

    made: list[FakeVideoCapture]

    def __init__(self, device: str, backend: int) -> None:
        self.device, self.backend = device, backend
        self.properties: dict[int, float] = {}
        self.left = 3
        self.released = False
        self.made.append(self)

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, key: int, value: float) -> bool:
        self.properties[key] = value
        return True

    def get(self, key: int) -> float:
        return self.properties.get(key, 0)

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self, image: NDArray[np.uint8] | None = None) -> tuple[bool, NDArray[np.uint8]]:  # noqa: ARG002
        return True, np.full((4, 6, 3), (1, 2, 3), np.uint8)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> list[FakeVideoCapture]:
    """The captures that were made of a camera that is not there."""
    monkeypatch.setattr(FakeVideoCapture, "made", [], raising=False)
    monkeypatch.setattr(cv2, "VideoCapture", FakeVideoCapture)
    return FakeVideoCapture.made


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A file in place of the device."""
    (tmp_path / "video7").touch()
    return tmp_path / "video7"


def test_a_camera_is_asked_for_its_format_and_size_and_read_as_rgb(
    cameras: list[FakeVideoCapture], device: Path
) -> None:
    source = v4l2_source(V4l2Config(device=str(device), width=800, height=600, fourcc="MJPG"), 3.0)
    source.open()
    frame = source.read()
    (camera,) = cameras
    assert (camera.device, camera.backend) == (str(device), cv2.CAP_V4L2)
    assert camera.properties == {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        cv2.CAP_PROP_FRAME_WIDTH: 800,
        cv2.CAP_PROP_FRAME_HEIGHT: 600,
    }
    assert (frame.pixels == (3, 2, 1)).all()
    source.close()
    assert camera.released


def test_the_cameras_own_format_is_left_alone(cameras: list[FakeVideoCapture], device: Path) -> None:
    v4l2_source(V4l2Config(device=str(device)), 3.0).open()
    assert cv2.CAP_PROP_FOURCC not in cameras[0].properties


def test_a_camera_that_hangs_is_an_error_that_says_what_to_look_at(
    cameras: list[FakeVideoCapture], device: Path
) -> None:
    source = v4l2_source(V4l2Config(device=str(device)), 3.0)
    source.open()
    source.skip()
    source.read()
    source.skip()
    with pytest.raises(
        SourceError, match=r"video7 gave no picture within 3 s, or ended; see whether another program"
    ):
        source.read()
    with pytest.raises(SourceError, match="gave no picture"):
        source.skip()
    source.close()
    source.open()
    assert len(cameras) == 2


def test_a_missing_camera_is_named() -> None:
    with pytest.raises(SourceError, match=r"/dev/video99 does not exist .*set source\.v4l2\.device"):
        v4l2_source(V4l2Config(device="99"), 1.0).open()


def test_what_is_no_camera_is_refused(device: Path) -> None:
    with pytest.raises(SourceError, match="video7 cannot be opened as a camera; see whether another program"):
        v4l2_source(V4l2Config(device=str(device)), 1.0).open()


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "may not be used by this user; add it to the group `video`"),
        (errno.EPERM, "is not among the devices that this service may use; see DeviceAllow"),
    ],
)
def test_a_camera_that_may_not_be_used_is_refused_with_the_remedy(
    device: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    # Root, as which tests may run, can use everything.
    def refuse(path: Any, *_: Any) -> int:
        assert path == device
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceError, match=remedy):
        v4l2_source(V4l2Config(device=str(device)), 1.0).open()


def test_the_description_is_the_device() -> None:
    assert v4l2_source(V4l2Config(device="/dev/video0"), 1.0).description == "v4l2 /dev/video0"
    assert v4l2_source(V4l2Config(device="2"), 1.0).description == "v4l2 /dev/video2"


def test_a_size_that_the_memory_budget_has_no_room_for_is_refused(
    cameras: list[FakeVideoCapture], device: Path
) -> None:
    config = V4l2Config(device=str(device), width=3840, height=2160)
    with pytest.raises(StreamTooLargeError, match=r"3840 x 2160 .*set a smaller source\.v4l2\.width"):
        v4l2_source(config, 3.0, lambda: 40 << 20).open()
    assert [camera.released for camera in cameras] == [True]
