"""Video files, written by OpenCV itself, as a source."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.errors import SourceError
from edge_agent.frame import Frame
from edge_agent.sources.opencv import Decoder, StreamRoom, StreamTooLargeError, to_rgb
from edge_agent.sources.video import VideoFileSource
from tests.sources.helpers import BLUE, GREEN, RED, open_files, pixels_of
from tests.sources.http_camera import jpeg
from tests.sources.matroska import write_matroska

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")

FPS = 10
COLOURS = (RED, GREEN, BLUE, (255, 255, 0), (0, 255, 255))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds: twenty frames, in five colours that change every four frames."""
    path = tmp_path_factory.mktemp("video") / "colours.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (64, 48))
    for number in range(20):
        writer.write(cv2.cvtColor(pixels_of(COLOURS[number // 4], 64, 48), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def opened(path: Path, *, loop: bool = False, fps: float = 0) -> VideoFileSource:
    source = VideoFileSource(path, loop=loop, fps=fps)
    source.open()
    return source


def read(source: VideoFileSource) -> Frame:
    frame = source.read()
    assert frame is not None
    return frame


def colour_of(frame: Frame) -> int:
    """Which of COLOURS the frame shows."""
    mean = frame.pixels.reshape(-1, 3).mean(axis=0)
    return int(np.argmin([np.abs(mean - colour).sum() for colour in COLOURS]))


def test_every_frame_is_given_in_order_and_in_rgb(video: Path) -> None:
    source = opened(video)
    frames = [read(source) for _ in range(20)]
    assert source.read() is None
    assert [colour_of(frame) for frame in frames] == [number // 4 for number in range(20)]
    assert [frame.id for frame in frames] == list(range(1, 21))
    assert frames[0].pixels.shape == (48, 64, 3)
    assert frames[0].name == "colours.avi"
    assert not source.live
    source.close()


def test_played_at_a_rate_it_keeps_its_own_speed(video: Path) -> None:
    source = opened(video, fps=2.5)
    assert [colour_of(read(source)) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert source.read() is None
    assert source.live
    source.close()


def test_a_rate_above_the_videos_own_takes_every_frame(video: Path) -> None:
    source = opened(video, fps=60)
    assert [colour_of(read(source)) for _ in range(6)] == [0, 0, 0, 0, 1, 1]
    source.close()


def browser_video(path: Path, times_ms: list[int]) -> None:
    jpegs = [jpeg(COLOURS[time_ms // 2000 % len(COLOURS)]) for time_ms in times_ms]
    write_matroska(path, jpegs, times_ms, (64, 48))


def test_frames_that_a_browser_spaced_unevenly_are_taken_by_their_own_times(tmp_path: Path) -> None:
    """Ten seconds, at 25 to 60 frames a second; a nominal rate would be 1000."""
    times_ms, time_ms = [], 0
    while time_ms < 10_000:
        times_ms.append(time_ms)
        time_ms += (16, 17, 33, 41, 1, 24)[len(times_ms) % 6]
    browser_video(tmp_path / "recorded.webm", times_ms)
    source = opened(tmp_path / "recorded.webm", fps=2)
    frames = list(iter(source.read, None))
    assert [colour_of(frame) for frame in frames] == [number // 4 for number in range(20)]
    source.close()


def test_a_video_with_a_gap_goes_on_at_its_rate(tmp_path: Path) -> None:
    browser_video(tmp_path / "gap.mkv", [*range(0, 1000, 40), *range(8000, 9000, 40)])
    source = opened(tmp_path / "gap.mkv", fps=2)
    assert [colour_of(frame) for frame in iter(source.read, None)] == [0, 0, 4, 4]
    source.close()


def test_a_file_that_gives_no_times_is_taken_to_be_evenly_spaced(video: Path) -> None:
    class Timeless:
        """The video, as a file would be read that has no times in it."""

        def __init__(self, capture: Any) -> None:
            self._capture = capture

        def get(self, _: int) -> float:
            return 0.0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._capture, name)

    source = opened(video, fps=2.5)
    assert source._decoder is not None
    source._decoder._capture = Timeless(source._decoder._capture)
    assert [colour_of(read(source)) for _ in range(5)] == [0, 1, 2, 3, 4]
    source.close()


def test_a_loop_starts_again_and_numbers_on(video: Path) -> None:
    source = opened(video, loop=True)
    for _ in range(20):
        read(source)
    again = read(source)
    assert (again.id, colour_of(again)) == (21, 0)
    source.close()


def test_frames_are_timed(video: Path) -> None:
    ticks = iter([5.0, 5.5])
    source = VideoFileSource(video, loop=False, fps=0, clock=lambda: next(ticks))
    source.open()
    frame = read(source)
    assert (frame.captured_s, frame.capture_ms) == (5.5, 500)
    source.close()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.avi: No such file or directory; check source\.file\.path"):
        opened(tmp_path / "none.avi")


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video " * 100)
    with pytest.raises(SourceError, match=r"text\.mp4 is no video that OpenCV can decode"):
        opened(tmp_path / "text.mp4")


@pytest.mark.parametrize("loop", [True, False])
def test_a_video_without_a_frame_is_an_error_and_no_endless_loop(
    video: Path, tmp_path: Path, loop: bool
) -> None:
    content = video.read_bytes()
    (tmp_path / "headers.avi").write_bytes(content[: content.index(b"movi") + 4])
    with pytest.raises(SourceError, match=r"headers\.avi (has no frame|is no video)"):
        opened(tmp_path / "headers.avi", loop=loop).read()


def test_many_reopenings_leave_no_file_open(video: Path) -> None:
    source = opened(video)
    before = open_files()
    for _ in range(100):
        source.close()
        source.open()
        read(source)
    assert open_files() == before
    source.close()
    source.close()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.full((2, 3), 9, np.uint8), (9, 9, 9)),
        (np.full((2, 3, 1), 9, np.uint8), (9, 9, 9)),
        (np.full((2, 3, 3), (1, 2, 3), np.uint8), (3, 2, 1)),
        (np.full((2, 3, 4), (1, 2, 3, 4), np.uint8), (3, 2, 1)),
    ],
    ids=["grey", "grey with a channel", "BGR", "BGRA"],
)
def test_what_opencv_gives_becomes_rgb(image: np.ndarray, expected: tuple[int, int, int]) -> None:
    rgb = to_rgb(image)
    assert rgb.shape == (2, 3, 3)
    assert (rgb == expected).all()


def test_a_big_frame_comes_back_smaller_by_a_whole_factor() -> None:
    assert to_rgb(np.zeros((1080, 1920, 3), np.uint8)).shape == (540, 960, 3)
    assert to_rgb(np.zeros((720, 1280, 3), np.uint8)).shape == (720, 1280, 3)


def test_frames_keep_their_own_pixels_while_the_next_are_decoded(video: Path) -> None:
    source = opened(video)
    frames = [read(source) for _ in range(20)]
    assert [colour_of(frame) for frame in frames] == [number // 4 for number in range(20)]
    assert not any(np.shares_memory(frames[0].pixels, later.pixels) for later in frames[1:])
    source.close()


PLAY = """
import sys
from pathlib import Path
from edge_agent.errors import SourceError
from edge_agent.memory.procfs import read_memory
from edge_agent.sources.opencv import import_cv2
from edge_agent.sources.video import VideoFileSource
import_cv2()
before = read_memory().rss_mb
room = int(sys.argv[2]) << 20
source = VideoFileSource(Path(sys.argv[1]), loop=False, fps=0, room=lambda: room)
try:
    source.open()
    while source.read():
        pass
except SourceError as error:
    print(error)
print(round(read_memory().peak_mb - before))
"""


def played(path: Path, room_mb: int) -> tuple[str, int]:
    """The error of playing a video in a process of its own, and the memory that it took, in MB."""
    command = [sys.executable, "-c", PLAY, str(path), str(room_mb)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    *messages, peak_mb = ended.stdout.splitlines()
    return " ".join(messages), int(peak_mb)


REFUSED = "decoding 3840 x 2160 pixels takes about 125 MB, and the memory budget leaves 48"


def test_a_video_too_large_for_the_budget_is_refused_before_it_takes_the_memory(tmp_path: Path) -> None:
    """3840 x 2160 pixels, which take more than 70 MB to decode."""
    path = tmp_path / "large.mkv"
    write_matroska(path, [jpeg(BLUE, (3840, 2160))] * 5, range(0, 200, 40), (3840, 2160))
    refused, peak_mb = played(path, room_mb=40)
    assert REFUSED in refused
    assert peak_mb < 25
    error, decoded_mb = played(path, room_mb=200)
    assert error == ""
    assert peak_mb + 20 < decoded_mb < 125


def test_a_video_that_is_larger_than_it_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lies.mkv"
    write_matroska(path, [jpeg(BLUE, (3840, 2160))] * 20, range(0, 800, 40), (320, 240))
    refused, peak_mb = played(path, room_mb=40)
    assert REFUSED in refused
    assert peak_mb < 75


class GrowingCapture:
    """What OpenCV does that follows a stream: the pictures grow, and what it says of them comes later."""

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        self._sizes = iter(sizes)
        self._size = (0, 0)

    def get(self, _: int) -> float:
        return 0.0

    def grab(self) -> bool:
        self._size = next(self._sizes)
        return True

    def retrieve(self, _: object) -> tuple[bool, NDArray[np.uint8]]:
        width, height = self._size
        return True, np.zeros((height, width, 3), np.uint8)


def test_a_stream_that_grows_is_refused_with_its_first_picture_for_which_there_is_no_room() -> None:
    room = StreamRoom(room_bytes=16 << 20, subject="the stream", advice="take a smaller one")
    decoder = Decoder(GrowingCapture([(320, 240), (640, 480), (1920, 1080)]), room)
    for size in ((240, 320, 3), (480, 640, 3)):
        assert decoder.grab()
        image = decoder.retrieve()
        assert image is not None
        assert image.shape == size
    assert decoder.grab()
    with pytest.raises(StreamTooLargeError, match="decoding 1920 x 1080 pixels takes about 36 MB"):
        decoder.retrieve()
