"""The picamera2 source on a fake camera that hangs, is busy, or is gone."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.config.schema import Config, Picamera2Config, RegionConfig
from edge_agent.errors import ConfigError, SourceError
from edge_agent.frame import WHOLE, Box
from edge_agent.pipeline.capture_loop import CaptureLoop, CapturePolicy
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.pipeline.part import box_of, cut, place_in
from edge_agent.pipeline.turn import Turn
from edge_agent.sources.picamera2 import Picamera2Source
from tests.clock import FakeClock
from tests.sources.fake_picamera2 import FakeBoard, Transform, install
from tests.sources.helpers import Deaf, open_files

SMALL = Picamera2Config(width=64, height=48, lores_width=32, lores_height=24)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> FakeBoard:
    fake = FakeBoard()
    install(monkeypatch, fake)
    return fake


def source(config: Picamera2Config = SMALL, fps: float = 2.0) -> Picamera2Source:
    return Picamera2Source(config, fps, 5.0)


def opened(config: Picamera2Config = SMALL, fps: float = 2.0) -> Picamera2Source:
    camera = source(config, fps)
    camera.open()
    return camera


def test_frames_are_rgb_from_the_lores_stream_and_numbered(board: FakeBoard) -> None:
    camera = opened()
    first, second = camera.read(), camera.read()
    assert first.pixels.shape == (24, 32, 3)
    # JFIF: R = Y + 1.402 (Cr - 128), G = Y - 0.344 (Cb - 128) - 0.714 (Cr - 128), B = Y + 1.772 (Cb - 128)
    assert np.abs(first.pixels.astype(int) - (251, 108, 100)).max() <= 1
    assert (first.id, second.id) == (1, 2)
    camera.close()
    assert board.acquired == 0


def test_the_camera_scales_and_no_memory_goes_to_what_is_not_used(board: FakeBoard) -> None:
    camera = opened(Picamera2Config(width=1640, height=1232, lores_width=320, lores_height=240, hflip=True))
    configured = board.configured
    assert configured["main"] == {"size": (1640, 1232), "format": "YUV420"}
    assert configured["lores"] == {"size": (320, 240), "format": "YUV420"}
    assert configured["raw"] is None
    assert (configured["display"], configured["encode"]) == (None, None)
    assert configured["queue"] is False, "an old frame would be given"
    assert configured["transform"] == Transform(hflip=True, vflip=False)
    camera.close()


@pytest.mark.parametrize(
    ("fps", "longest_us"), [(0.0, 33_333), (2.0, 200_000), (10.0, 100_000), (60.0, 33_333)]
)
def test_at_night_the_exposure_may_last_as_long_as_the_rate_allows(
    board: FakeBoard, fps: float, longest_us: int
) -> None:
    camera = opened(fps=fps)
    assert board.configured["controls"] == {"FrameDurationLimits": (33_333, longest_us)}
    camera.close()


def test_a_camera_without_frame_duration_limits_is_left_alone(board: FakeBoard) -> None:
    board.controls = {}
    camera = opened()
    assert board.configured["controls"] == {}
    camera.close()


def test_a_black_night_frame_is_a_frame(board: FakeBoard) -> None:
    board.colour = (0, 128, 128)
    camera = opened()
    assert (camera.read().pixels == 0).all()
    camera.close()


@pytest.mark.parametrize("padding", [0, 32])
@pytest.mark.parametrize("name", ["YUV420", "NV12"])
@pytest.mark.parametrize("full_range", [True, False])
def test_every_layout_that_a_camera_may_choose_gives_the_same_colours(
    board: FakeBoard, name: str, padding: int, full_range: bool
) -> None:
    board.lores_format, board.lores_padding, board.full_range = name, padding, full_range
    # Red, as BT.601 has it in each range.
    board.colour = (76, 85, 255) if full_range else (81, 90, 240)
    camera = opened()
    pixels = camera.read().pixels
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 3
    camera.close()


def test_a_format_that_nobody_asked_for_is_an_error(board: FakeBoard) -> None:
    board.lores_format = "YUYV"
    camera = opened()
    with pytest.raises(SourceError, match="delivers YUYV"):
        camera.read()
    camera.close()


def test_the_model_is_in_the_description_once_known(board: FakeBoard) -> None:
    camera = source()
    assert camera.description == "picamera2 0"
    camera.open()
    assert camera.description == "picamera2 0 (imx708)"
    camera.close()
    assert board.acquired == 0


def test_a_missing_camera_is_an_error_that_says_what_to_check(board: FakeBoard) -> None:
    board.models = []
    with pytest.raises(SourceError, match="there is no camera 0: libcamera finds 0; check the ribbon cable"):
        source().open()
    assert board.made == 0


def test_a_camera_in_use_is_an_error_that_says_so(board: FakeBoard) -> None:
    board.busy = True
    with pytest.raises(SourceError, match=r"picamera2 0: another program uses the camera.*fuser"):
        source().open()


def test_exhausted_camera_memory_is_an_error_that_says_what_to_do(board: FakeBoard) -> None:
    board.memory_used_up = True
    with pytest.raises(
        SourceError, match=r"\(CMA\) is used up: make source\.picamera2\.width and height smaller"
    ):
        source().open()
    assert board.acquired == 0, "another program may try"
    board.memory_used_up = False
    opened().close()


def test_a_camera_that_does_not_start_is_released(board: FakeBoard) -> None:
    board.start_fails = True
    with pytest.raises(SourceError, match="Failed to start camera: Input/output error"):
        source().open()
    assert (board.acquired, board.live_threads) == (0, 0)


def test_without_picamera2_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(SourceError, match=r"apt install python3-picamera2.*--system-site-packages"):
        source().open()


def test_a_lores_stream_larger_than_main_is_refused() -> None:
    with pytest.raises(ConfigError, match="lores stream, 1280 x 240, may not be larger than the main stream"):
        source(Picamera2Config(lores_width=1280))


def test_a_camera_that_hangs_is_an_error_after_the_timeout(board: FakeBoard) -> None:
    camera = opened()
    board.hangs = 1
    with pytest.raises(SourceError, match=r"picamera2 0 \(imx708\) gave no picture within 5 s"):
        camera.read()
    camera.close()


def test_after_a_hang_the_same_object_is_started_again_with_its_controls(board: FakeBoard) -> None:
    camera = opened()
    board.hangs = 1
    with pytest.raises(SourceError):
        camera.read()
    camera.close()
    assert board.live_threads == 0
    camera.open()
    assert camera.read().id == 1
    assert (board.made, board.starts) == (1, 2)
    assert board.controls_at_start == [{"FrameDurationLimits": (33_333, 200_000)}] * 2
    camera.close()
    assert board.acquired == 0


def test_when_a_new_start_does_not_help_the_camera_is_made_again(board: FakeBoard) -> None:
    camera = opened()
    board.hangs, board.hangs_until_made_anew = 1, True
    for _ in range(2):
        with pytest.raises(SourceError):
            camera.read()
        camera.close()
        camera.open()
    assert camera.read().id == 1
    assert board.made == 2
    camera.close()


def test_closing_for_good_after_a_hang_releases_the_camera(board: FakeBoard) -> None:
    camera = opened()
    board.hangs = 1
    with pytest.raises(SourceError):
        camera.read()
    camera.close()
    camera.close()
    assert (board.acquired, board.live_threads) == (0, 0)


def test_closing_gives_every_file_back_at_once(board: FakeBoard) -> None:
    camera = source()
    before = open_files()
    gc.disable()
    try:
        camera.open()
        camera.read()
        camera.close()
        assert open_files() == before
    finally:
        gc.enable()
    assert board.made == 1


def test_another_program_can_use_the_camera_after_close(board: FakeBoard) -> None:
    camera = opened()
    assert board.acquired == 1
    camera.close()
    opened().close()
    camera.open()
    assert camera.read().id == 1
    camera.close()


@pytest.fixture
def quick_gc() -> Iterator[None]:
    """Spare the collector the objects of the test run itself: each closing of the camera collects."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("quick_gc")
@pytest.mark.parametrize("trouble", ["none", "hang", "deep hang", "gone", "busy", "memory", "start"])
def test_a_thousand_reopenings_leak_neither_files_nor_threads(board: FakeBoard, trouble: str) -> None:
    camera = source()
    clock = FakeClock()
    board.hangs_until_made_anew = trouble == "deep hang"
    board.models = [] if trouble == "gone" else ["imx708"]
    board.busy = trouble == "busy"
    board.memory_used_up = trouble == "memory"
    board.start_fails = trouble == "start"
    loop = CaptureLoop(camera, LatestFrame(), CapturePolicy(0, 1, 1), Deaf(), clock=clock, sleep=clock.sleep)

    def while_asleep() -> None:
        if trouble in ("hang", "deep hang"):
            board.hangs = 1
        if len(clock.slept_s) == 1000:
            loop.stop()

    clock.while_asleep = while_asleep
    if trouble == "none":
        files, threads = open_files(), threading.active_count()
        for _ in range(1000):
            camera.open()
            camera.read()
            camera.close()
    else:
        board.hangs = 1
        files, threads = open_files(), threading.active_count()
        loop.run()
        assert loop.status.consecutive_failures >= 1
    gc.collect()  # the last error's traceback held the last camera
    assert open_files() <= files  # fewer where an earlier test's were closed meanwhile
    assert threading.active_count() <= threads
    assert (board.acquired, board.live_threads) == (0, 0)


def test_reopenings_after_a_passing_hang_use_one_object(board: FakeBoard) -> None:
    camera = opened()
    for _ in range(1000):
        board.hangs = 1
        with pytest.raises(SourceError):
            camera.read()
        camera.close()
        camera.open()
        camera.read()
    assert (board.made, board.starts) == (1, 1001)
    camera.close()


# What is looked at, and the sensor's picture

SENSOR = (1014, 760)


def slope(towards: str = "right") -> NDArray[np.uint8]:
    """A scene that gets brighter towards one side, from 0 to 250."""
    width, height = SENSOR
    across, down = np.linspace(0, 250, width), np.linspace(0, 250, height)
    lines = np.broadcast_to(across, (height, width)) if towards == "right" else down[:, None] + 0 * across
    return lines.astype(np.uint8)


@pytest.fixture(params=[False, True], ids=["pi 4", "pi 5"])
def cropping(board: FakeBoard, request: pytest.FixtureRequest) -> FakeBoard:
    board.sensor, board.scene, board.is_pi_5 = SENSOR, slope(), request.param
    return board


def test_a_camera_shows_the_part_that_is_looked_at_with_all_its_pixels(cropping: FakeBoard) -> None:
    camera = source()
    camera.focus((0.5, 0.5, 0.125, 0.125))
    camera.open()
    frame = camera.read()
    assert frame.window == pytest.approx((0.5, 0.5, 0.125, 0.125), abs=1 / 250)
    assert (int(frame.pixels.min()), int(frame.pixels.max())) == pytest.approx((125, 156), abs=2)
    assert cropping.crops_asked[-1] == pytest.approx((507, 380, 127, 95), abs=2)
    camera.close()


def test_each_frame_says_what_it_shows_while_the_camera_changes_over(cropping: FakeBoard) -> None:
    camera = opened()
    assert camera.read().window == WHOLE
    camera.focus((0.0, 0.0, 0.25, 0.25))
    windows = [camera.read().window for _ in range(6)]
    assert windows[:4] == [WHOLE] * 4
    assert windows[4:] == [pytest.approx((0, 0, 0.25, 0.25), abs=1 / 250)] * 2
    assert len(cropping.crops_asked) == cropping.is_pi_5 + 1, "it is asked for once"
    camera.focus(None)
    assert [camera.read().window for _ in range(6)][-1] == WHOLE
    camera.close()


def test_a_change_of_mind_while_the_camera_changes_over_wins(cropping: FakeBoard) -> None:
    camera = opened()
    camera.focus((0.0, 0.0, 0.25, 0.25))
    camera.read()
    camera.focus(None)
    assert [camera.read().window for _ in range(12)][-1] == WHOLE
    assert cropping.crops_asked[-1] == (0, 0, 1013, 760)
    camera.close()


def test_a_camera_that_hung_goes_on_with_the_part(cropping: FakeBoard) -> None:
    camera = source()
    camera.focus((0.5, 0.5, 0.25, 0.25))
    camera.open()
    for focus in ((0.5, 0.5, 0.25, 0.25), None):
        camera.focus(focus)
        cropping.hangs = 1
        with pytest.raises(SourceError):
            camera.read()
        camera.close()
        camera.open()
        expected = focus or WHOLE
        assert [camera.read().window for _ in range(6)][-1] == pytest.approx(expected, abs=1 / 250)
    camera.close()


def test_a_crop_smaller_than_the_camera_can_is_what_the_camera_makes_of_it(cropping: FakeBoard) -> None:
    cropping.least_crop = (254, 190)
    camera = source()
    camera.focus((0.5, 0.5, 0.05, 0.05))
    camera.open()
    windows = [camera.read().window for _ in range(6)]
    assert windows == [pytest.approx((0.4, 0.4, 0.25, 0.25), abs=1 / 100)] * 6
    assert len(cropping.crops_asked) == 1, "it is not asked for again with each frame"
    camera.close()


@pytest.mark.parametrize("limits", [None, (None, None, None), ((0,) * 4,) * 3])
def test_a_camera_that_cannot_crop_shows_the_whole_picture(
    board: FakeBoard, limits: tuple[object, ...] | None
) -> None:
    if limits:
        board.controls["ScalerCrop"] = limits  # type: ignore[assignment]
    camera = source()
    camera.focus((0.0, 0.0, 0.25, 0.25))
    camera.open()
    assert camera.read().window == WHOLE
    assert board.crops_asked == []
    camera.close()


@pytest.mark.parametrize("towards", ["right", "down"])
@pytest.mark.parametrize("own", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_region_shows_the_same_with_and_without_the_crop_however_the_picture_is_turned(
    board: FakeBoard, towards: str, own: tuple[bool, bool], degrees: int
) -> None:
    board.scene = slope(towards)
    config = replace(SMALL, hflip=own[0], vflip=own[1])
    for flipped in (False, True):
        turn = Turn(degrees, hflip=flipped, vflip=not flipped and degrees == 90)
        region = RegionConfig((0.6, 0.1, 0.25, 0.3))
        policy = CapturePolicy(0, 1, 1, turn=turn, focus=box_of(region))
        means = []
        for focus in (policy, replace(policy, focus=None)):
            board.sensor = SENSOR
            camera = source(config)
            focus.aim(camera)
            camera.open()
            frame = policy.turned(camera.read())
            camera.close()
            place = place_in(frame.window, box_of(region))
            assert place is not None
            means.append(cut(frame.pixels, place).mean())
        # The small frames have 8 steps of the scene in a pixel, and a region's edge is rounded to one.
        assert means[0] == pytest.approx(means[1], abs=6)
        assert means[0] > 1


def test_a_second_region_brings_the_whole_picture_back_while_it_runs(cropping: FakeBoard) -> None:
    """By the capture loop, on one start of the camera."""
    one, two = RegionConfig((0.5, 0.5, 0.25, 0.25)), RegionConfig((0.0, 0.0, 0.2, 0.2))
    setup = Config(regions={"gate": one})
    clock, slot = FakeClock(), LatestFrame()
    loop = CaptureLoop(
        source(), slot, CapturePolicy.from_config(setup), Deaf(), clock=clock, sleep=clock.sleep
    )
    windows: list[Box] = []

    def while_asleep() -> None:
        frame = slot.take(0)
        if frame is not None:
            windows.append(frame.window)
        if len(windows) == 10:
            loop.use_policy(CapturePolicy.from_config(replace(setup, regions={"gate": one, "door": two})))
        elif len(windows) == 20:
            loop.use_policy(CapturePolicy.from_config(setup))
        elif len(windows) == 30:
            loop.stop()

    clock.while_asleep = while_asleep
    loop.run()
    near = pytest.approx((0.5, 0.5, 0.25, 0.25), abs=1 / 250)
    assert windows[:10] == [near] * 10
    assert windows[15:20] == [WHOLE] * 5
    assert windows[25:] == [near] * (len(windows) - 25)
    assert (cropping.made, cropping.starts) == (1, 1)
