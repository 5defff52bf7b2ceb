"""The capture loop with a scripted source and a clock that the test moves."""

from __future__ import annotations

import logging
import re
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config.schema import Config, SourceConfig
from edge_agent.errors import SourceError
from edge_agent.frame import Frame
from edge_agent.pipeline.capture_loop import CaptureLoop, CapturePolicy
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.pipeline.turn import Turn
from edge_agent.sources import LastingError
from edge_agent.sources.folder import FolderSource
from tests.clock import FakeClock
from tests.sources.helpers import ScriptedSource, Step, frame, frames, plain_picture

InThread = Callable[[Callable[[], None]], threading.Thread]
UNPACED = CapturePolicy(fps=0, reopen_min_s=1, reopen_max_s=60)
GONE = SourceError("the camera is gone")


@dataclass
class Log:
    """What the watchdog would hear."""

    heard: list[str] = field(default_factory=list)

    def captured(self) -> None:
        self.heard.append("captured")

    def discarded(self) -> None:
        self.heard.append("discarded")

    def idle(self) -> None:
        self.heard.append("idle")


@dataclass
class Bench:
    """A loop and all that it is connected to."""

    loop: CaptureLoop
    slot: LatestFrame
    clock: FakeClock
    log: Log

    def take_all(self) -> list[int]:
        taken = []
        while (got := self.slot.take(0)) is not None:
            taken.append(got.id)
        return taken


def bench(source: ScriptedSource | FolderSource, clock: FakeClock, policy: CapturePolicy = UNPACED) -> Bench:
    slot, log = LatestFrame(), Log()
    loop = CaptureLoop(source, slot, policy, log, clock=clock, sleep=clock.sleep)
    return Bench(loop, slot, clock, log)


def played(script: Sequence[Step], clock: FakeClock, policy: CapturePolicy = UNPACED) -> Bench:
    """A live source's script played to its end."""
    ready = bench(ScriptedSource(script, clock), clock, policy)
    ready.loop.run()
    return ready


def test_a_live_source_is_read_to_its_end_and_only_the_newest_frame_is_kept(clock: FakeClock) -> None:
    source = ScriptedSource(frames(1, 5), clock)
    ready = bench(source, clock)
    ready.loop.run()
    status = ready.loop.status
    assert ready.take_all() == [5]
    assert (status.state, status.frames, status.dropped) == ("ended", 5, 4)
    assert (source.opened, source.closed) == (1, 1)
    assert ready.slot.closed


def test_before_the_first_frame_the_source_is_starting(clock: FakeClock) -> None:
    status = bench(ScriptedSource([], clock, name="camera 7"), clock).loop.status
    assert (status.state, status.description) == ("starting", "camera 7")


def test_a_source_that_fails_is_reopened_and_says_so(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = ScriptedSource([frame(1), GONE, frame(2)], clock)
    ready = bench(source, clock)
    with caplog.at_level(logging.INFO, "edge_agent"):
        ready.loop.run()
    status = ready.loop.status
    assert (source.opened, status.reopened, status.frames) == (2, 1, 2)
    assert (status.last_error, status.consecutive_failures) == ("the camera is gone", 0)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["the camera is gone", "scripted delivers again", "scripted has ended"]


def test_pauses_between_attempts_double_and_the_error_is_logged_once(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "edge_agent"):
        ready = played([GONE] * 8 + [frame(1), GONE, frame(2)], clock)
    assert sum(clock.slept_s) == 1 + 2 + 4 + 8 + 16 + 32 + 60 + 60 + 1
    assert [record.getMessage() for record in caplog.records].count("the camera is gone") == 2
    assert ready.loop.status.reopened == 2


def test_a_source_that_cannot_be_opened_is_tried_again(clock: FakeClock) -> None:
    source = ScriptedSource([frame(1)], clock, open_errors=[GONE, GONE])
    ready = bench(source, clock)
    seen: list[tuple[str, int]] = []
    clock.while_asleep = lambda: seen.append(
        (ready.loop.status.state, ready.loop.status.consecutive_failures)
    )
    ready.loop.run()
    assert seen == [("reopening", 1), ("reopening", 2), ("reopening", 2)]
    assert ready.take_all() == [1]


def test_while_reopening_the_watchdog_hears_of_every_second(clock: FakeClock) -> None:
    ready = played([GONE] * 6 + [frame(1)], clock)
    assert max(clock.slept_s) <= 1
    assert ready.log.heard == ["idle"] * (1 + 2 + 4 + 8 + 16 + 32) + ["captured"]


def test_frames_are_taken_at_the_given_rate(clock: FakeClock) -> None:
    played(frames(1, 5), clock, CapturePolicy(2, 1, 60))
    assert clock.now_s == pytest.approx(1000 + 5 * 0.5)


def test_a_slow_rate_is_waited_for_in_rounds_that_the_watchdog_hears_of(clock: FakeClock) -> None:
    ready = played(frames(1, 2), clock, CapturePolicy(0.1, 1, 60))
    assert ready.log.heard == ["captured", *["idle"] * 10, "captured", *["idle"] * 10]


class StreamingSource(ScriptedSource):
    """A stream of 25 frames a second, which pass whether they are read or not."""

    skipped = 0

    def __init__(self, script: Sequence[Step], clock: FakeClock) -> None:
        super().__init__(script, clock)
        self._fake_clock = clock

    def skip(self) -> bool:
        self._fake_clock.now_s += 0.04
        self.skipped += 1
        return True

    def read(self) -> Frame | None:
        self._fake_clock.now_s += 0.04
        return super().read()


def test_frames_of_a_stream_that_are_not_due_are_let_pass(clock: FakeClock) -> None:
    source = StreamingSource(frames(1, 4), clock)
    bench(source, clock, CapturePolicy(5, 1, 60)).loop.run()
    assert clock.slept_s == []
    assert source.skipped == pytest.approx(4 * 4, abs=3)


def test_an_error_while_letting_frames_pass_reopens_the_stream(clock: FakeClock) -> None:
    class Failing(StreamingSource):
        def skip(self) -> bool:
            if self.opened == 1:
                raise GONE
            return super().skip()

    source = Failing(frames(1, 3), clock)
    ready = bench(source, clock, CapturePolicy(5, 1, 60))
    ready.loop.run()
    assert (source.opened, ready.loop.status.frames, ready.loop.status.reopened) == (2, 3, 1)


def test_a_source_that_is_not_live_waits_and_loses_nothing(in_thread: InThread, clock: FakeClock) -> None:
    ready = bench(ScriptedSource(frames(1, 50), clock, live=False), clock)
    in_thread(ready.loop.run)
    taken = []
    while not ready.slot.closed:
        if (got := ready.slot.take(5)) is not None:
            taken.append(got.id)
    assert taken == list(range(1, 51))
    assert ready.loop.status.dropped == 0


def test_stopping_ends_a_long_pause_at_once(clock: FakeClock) -> None:
    ready = bench(ScriptedSource([GONE] * 100, clock), clock, CapturePolicy(0, 60, 60))
    clock.while_asleep = ready.loop.stop
    ready.loop.run()
    assert len(clock.slept_s) == 1


def test_stopping_wakes_both_threads_and_closes_the_source(in_thread: InThread) -> None:
    clock = FakeClock()
    source = ScriptedSource(frames(1, 10), clock, live=False)
    slot = LatestFrame()
    loop = CaptureLoop(source, slot, UNPACED, Log())
    thread = in_thread(loop.run)
    assert slot.take(5) is not None
    loop.stop()
    thread.join(10)
    while not slot.closed:
        slot.take(0)
    assert (source.is_open, source.closed) == (False, 1)


def test_a_paused_camera_is_closed_and_its_waiting_frame_dropped(clock: FakeClock) -> None:
    source = ScriptedSource(frames(1, 3), clock)
    ready = bench(source, clock, CapturePolicy(1, 1, 60))
    seen: list[tuple[str, bool, int | None]] = []

    def script() -> None:
        step = len(clock.slept_s)
        if step == 1:
            ready.loop.pause()
        if step in (2, 5):
            got = ready.slot.take(0)
            seen.append((ready.loop.status.state, source.is_open, got.id if got else None))
        if step == 5:
            ready.loop.resume()

    clock.while_asleep = script
    ready.loop.run()
    assert seen == [("paused", False, None), ("paused", False, None)]
    assert "discarded" in ready.log.heard
    assert (source.opened, ready.loop.status.frames, ready.loop.status.reopened) == (2, 3, 0)


def test_a_paused_folder_goes_on_where_it_was(in_thread: InThread, clock: FakeClock) -> None:
    source = ScriptedSource(frames(1, 4), clock, live=False)
    ready = bench(source, clock)
    ready.loop.pause()
    clock.while_asleep = ready.loop.resume
    in_thread(ready.loop.run)
    taken = []
    while not ready.slot.closed:
        if (got := ready.slot.take(5)) is not None:
            taken.append(got.id)
    assert taken == [1, 2, 3, 4]
    assert source.opened == 1


def test_the_source_can_be_replaced_while_running(clock: FakeClock) -> None:
    broken = ScriptedSource([GONE] * 100, clock, name="old")
    ready = bench(broken, clock)
    replacement = ScriptedSource(frames(1, 2), clock, name="new")
    clock.while_asleep = lambda: ready.loop.use_source(replacement)
    ready.loop.run()
    status = ready.loop.status
    assert (status.description, status.frames, status.consecutive_failures) == ("new", 2, 0)
    assert (broken.is_open, replacement.opened, replacement.is_open) == (False, 1, False)


def test_the_rate_can_be_changed_without_reopening(clock: FakeClock) -> None:
    source = ScriptedSource(frames(1, 3), clock)
    ready = bench(source, clock, CapturePolicy(0.01, 1, 60))
    clock.while_asleep = lambda: ready.loop.use_policy(CapturePolicy(2, 1, 60))
    ready.loop.run()
    assert clock.now_s - 1000 < 4
    assert (source.opened, ready.loop.status.frames) == (1, 3)


SECRET = "Hunter2-Zq77"


class LibraryError(Exception):
    """What a library raises, whose text may hold anything."""


def unexpected() -> list[Exception]:
    """What a library, hostile data or a bug may raise."""
    kinds = (ValueError, KeyError, struct.error, cv2.error, ZeroDivisionError, RuntimeError, LibraryError)
    return [*(kind(SECRET) for kind in kinds), RecursionError(), StopIteration(), MemoryError()]


def test_an_error_that_no_source_should_raise_is_one_of_the_source(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = ScriptedSource([frame(1), *[LibraryError(f"{SECRET}\x1b[2J")] * 5, frame(2)], clock)
    ready = bench(source, clock)
    ready.loop.run()
    status = ready.loop.status
    assert (status.state, status.frames, status.reopened, source.opened) == ("ended", 2, 1, 6)
    assert sum(clock.slept_s) == 1 + 2 + 4 + 8 + 16
    assert re.match(
        r"scripted has failed unexpectedly, with tests\.\S+\.LibraryError at capture_loop\.py:\d+;",
        status.last_error,
    )
    assert SECRET not in caplog.text + status.last_error
    assert caplog.text.count("Traceback") == 1  # it is said once where that is


@pytest.mark.parametrize("where", ["open", "read", "skip", "close"])
@pytest.mark.parametrize("error", unexpected(), ids=lambda error: type(error).__name__)
def test_no_error_of_a_source_ends_the_loop(
    clock: FakeClock, where: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(StreamingSource):
        failures = 0

        def _fail(self, here: str) -> None:
            if here == where and self.failures < 3:
                self.failures += 1
                raise error

        def open(self) -> None:
            super().open()
            self._fail("open")

        def read(self) -> Frame | None:
            self._fail("read")
            return super().read()

        def skip(self) -> bool:
            self._fail("skip")
            return super().skip()

        def close(self) -> None:
            super().close()
            self._fail("close")

    source = Failing([frame(1), GONE, frame(2), GONE, frame(3), frame(4)], clock)
    ready = bench(source, clock, CapturePolicy(5, 1, 60))
    ready.loop.run()
    assert (ready.loop.status.frames, source.failures, source.is_open) == (4, 3, False)
    assert SECRET not in caplog.text


def test_a_source_without_enough_memory_is_tried_again_and_says_so(clock: FakeClock) -> None:
    ready = played([MemoryError(), frame(1)], clock)
    assert ready.loop.status.frames == 1
    assert "not enough memory" in ready.loop.status.last_error


def test_the_end_of_the_process_is_no_error_of_a_source(clock: FakeClock) -> None:
    class Ending(ScriptedSource):
        def read(self) -> Frame | None:
            raise SystemExit

    source = Ending([], clock)
    ready = bench(source, clock)
    with pytest.raises(SystemExit):
        ready.loop.run()
    assert not source.is_open
    assert ready.slot.closed


def test_a_slow_taker_of_a_live_folder_gets_the_newest_picture_and_the_rest_is_counted(
    tmp_path: Path, in_thread: InThread
) -> None:
    for number in range(30):
        plain_picture(tmp_path / f"{number:02}.jpg")
    (tmp_path / "15b.jpg").write_bytes(b"no picture")
    slot = LatestFrame()
    loop = CaptureLoop(FolderSource(tmp_path, loop=False, live=True), slot, UNPACED, Log())
    thread = in_thread(loop.run)
    thread.join(10)
    last = slot.take(0)
    assert last is not None
    assert last.name == "29.jpg"
    assert (loop.status.frames, loop.status.dropped, loop.status.unusable) == (30, 29, 1)


steps = st.lists(
    st.sampled_from(["frame", "error", "defect", "pause", "resume", "replace", "rate", "stop"]), max_size=25
)


@given(script=steps, commands=steps, fps=st.sampled_from([0.0, 0.3, 5.0]))
@settings(deadline=None)
def test_whatever_happens_the_loop_ends_cleanly(script: list[str], commands: list[str], fps: float) -> None:
    clock = FakeClock()
    opened: list[ScriptedSource] = []

    def source() -> ScriptedSource:
        errors = {"error": GONE, "defect": ValueError(SECRET)}
        steps_of_source: list[Step] = [errors.get(step, frame(1)) for step in script]
        opened.append(ScriptedSource(steps_of_source, clock))
        return opened[-1]

    ready = bench(source(), clock, CapturePolicy(fps, 1, 60))
    waiting = iter(commands)
    actions: dict[str, Callable[[], None]] = {
        "pause": ready.loop.pause,
        "resume": ready.loop.resume,
        "replace": lambda: ready.loop.use_source(source()),
        "rate": lambda: ready.loop.use_policy(UNPACED),
        "stop": ready.loop.stop,
    }

    def while_asleep() -> None:
        # When there is nothing left to do, let the loop run out.
        actions.get(next(waiting, "resume"), lambda: None)()

    clock.while_asleep = while_asleep
    ready.loop.run()

    status = ready.loop.status
    assert all(not used.is_open and used.opened == used.closed for used in opened)
    assert len(ready.take_all()) + status.dropped == status.frames
    assert ready.slot.closed
    assert ready.log.heard.count("captured") == status.frames


# Cameras that deliver, but nothing to look at.


def noise(number: int) -> Frame:
    pixels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    return Frame(number, 0.0, 1.0, pixels)


def same(scene: int, count: int) -> list[Frame]:
    return [noise(scene)] * count


WATCHED = CapturePolicy(fps=1, reopen_min_s=1, reopen_max_s=60, frozen_after_s=60)


def test_a_camera_that_stands_still_is_reopened_with_pauses_that_grow_until_it_moves(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = ScriptedSource([*same(1, 64), noise(2), noise(3)], clock)
    ready = bench(source, clock, WATCHED)
    seen: list[str] = []
    clock.while_asleep = lambda: seen.append(ready.loop.status.state)
    with caplog.at_level(logging.INFO, "edge_agent"):
        ready.loop.run()
    status = ready.loop.status
    # Frame 61 is a minute after the first one; the same comes again after three reopenings.
    assert (status.frames, status.reopened, source.opened) == (60 + 2, 1, 5)
    assert status.last_error.startswith("the camera stands still")
    assert seen.count("reopening") == 1 + 2 + 4 + 8
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(":")[0] for message in messages] == [
        "the camera stands still",
        "scripted delivers again",
        "scripted has ended",
    ]


def test_a_camera_that_moves_a_little_now_and_then_is_fine(clock: FakeClock) -> None:
    ready = played([*same(1, 50), *same(2, 50), *same(1, 50)], clock, WATCHED)
    assert (ready.loop.status.frames, ready.loop.status.last_error) == (150, "")


def test_a_test_picture_may_stand_still_where_the_settings_say_so(clock: FakeClock) -> None:
    ready = played(same(1, 500), clock, CapturePolicy(1, 1, 60, frozen_after_s=0))
    assert (ready.loop.status.frames, ready.loop.status.last_error) == (500, "")


def test_a_single_frame_that_comes_late_is_no_standstill(clock: FakeClock) -> None:
    ready = played([noise(1), noise(1), noise(2)], clock, CapturePolicy(0.01, 1, 60, frozen_after_s=60))
    assert (ready.loop.status.frames, ready.loop.status.last_error) == (3, "")


def test_a_picture_of_a_single_colour_is_not_classified_and_soon_an_error(clock: FakeClock) -> None:
    ready = played([noise(1), *frames(2, 12), noise(13)], clock, WATCHED)
    status = ready.loop.status
    assert (status.frames, status.unusable) == (2, 10)
    assert ready.log.heard.count("captured") == 2
    assert "a picture of a single colour" in status.last_error
    assert status.reopened == 1


STREAM = CapturePolicy(fps=1, reopen_min_s=1, reopen_max_s=60, frozen_after_s=60, must_change=True)


def test_no_picture_of_a_stream_is_classified_that_never_changes(clock: FakeClock) -> None:
    source = ScriptedSource([*same(1, 70), GONE, *same(2, 70)], clock)
    ready = bench(source, clock, STREAM)
    ready.loop.run()
    assert ready.loop.status.frames == 0
    assert ready.loop.status.unusable > 100
    assert "its stream is interlaced" in ready.loop.status.last_error


def test_a_stream_whose_pictures_change_loses_the_first_one_alone_and_no_time(clock: FakeClock) -> None:
    ready = played([noise(1), noise(2), noise(3), GONE, noise(3), noise(4)], clock, STREAM)
    status = ready.loop.status
    assert (status.frames, status.unusable, status.reopened) == (3, 0, 1)
    assert clock.now_s == 1000 + 2 + 1 + 1  # two frames, the pause, and another one


def test_a_stream_that_stands_still_at_first_is_classified_with_its_first_change(clock: FakeClock) -> None:
    ready = played([*same(1, 10), noise(2), *same(2, 5)], clock, STREAM)
    assert (ready.loop.status.frames, ready.loop.status.unusable) == (6, 9)


def test_the_scene_before_a_pause_is_not_held_against_the_camera(clock: FakeClock) -> None:
    source = ScriptedSource([*same(1, 4), noise(2)], clock)
    ready = bench(source, clock, WATCHED)

    def pause_for_minutes() -> None:
        if clock.now_s == 1003:
            ready.loop.pause()
        elif clock.now_s > 1300:
            ready.loop.resume()

    clock.while_asleep = pause_for_minutes
    ready.loop.run()
    assert (ready.loop.status.frames, ready.loop.status.last_error) == (5, "")


def test_pictures_of_a_folder_or_file_may_be_the_same() -> None:
    for kind, frozen_after_s in (("rtsp", 60), ("http", 60), ("folder", 0), ("file", 0)):
        config = SourceConfig(type=kind, warmup_s=2)  # type: ignore[arg-type]
        policy = CapturePolicy.from_config(Config(source=config))
        assert (policy.frozen_after_s, policy.warmup_s) == (frozen_after_s, 2 if frozen_after_s else 0)
        assert policy.must_change is (kind == "rtsp")


@given(st.lists(st.integers(0, 3), max_size=60), st.sampled_from([0.0, 3.0, 5.0]))
def test_no_scene_that_stands_still_is_handed_over_for_longer_than_said(
    scenes: list[int], limit_s: float
) -> None:
    clock = FakeClock()
    taken: list[tuple[float, int]] = []
    source = ScriptedSource([noise(scene) for scene in scenes], clock)
    ready = bench(source, clock, CapturePolicy(1, 1, 60, frozen_after_s=limit_s))
    ready.slot.put = lambda frame: taken.append((clock.now_s, frame.id))  # type: ignore[method-assign]
    ready.loop.run()
    if limit_s == 0:
        assert [scene for _, scene in taken] == scenes
    since_s, last = 0.0, -1
    for now_s, scene in taken:
        since_s, last = (since_s, last) if scene == last else (now_s, scene)
        assert limit_s == 0 or now_s - since_s < max(limit_s, 2)


@pytest.mark.parametrize("live", [StreamingSource, ScriptedSource])
def test_no_frame_is_taken_while_a_camera_warms_up_after_each_opening(
    live: type[ScriptedSource], clock: FakeClock
) -> None:
    taken_s: list[float] = []

    class Timed(live):  # type: ignore[misc,valid-type]
        def read(self) -> Frame | None:
            taken_s.append(clock.now_s)
            return super().read()  # type: ignore[no-any-return]

    source = Timed([frame(1), GONE, frame(2)], clock)
    bench(source, clock, CapturePolicy(0, 1, 60, warmup_s=1.5)).loop.run()
    first_s, failed_s, second_s, _ = taken_s
    assert first_s - 1000 == pytest.approx(1.5, abs=0.05)
    assert second_s - failed_s == pytest.approx(1 + 1.5, abs=0.1)


# Failures that trying again makes worse.


class RefusedError(LastingError):
    attempts = 3


REFUSED = RefusedError("the camera refuses the password")


def test_after_a_few_refusals_the_pause_is_long(clock: FakeClock) -> None:
    source = ScriptedSource([frame(1)], clock, open_errors=[REFUSED] * 5)
    bench(source, clock).loop.run()
    assert sum(clock.slept_s) == 1 + 2 + 600 + 600 + 600


def test_refusals_with_other_failures_between_them_are_not_in_a_row(clock: FakeClock) -> None:
    source = ScriptedSource([frame(1)], clock, open_errors=[REFUSED, REFUSED, GONE, REFUSED, REFUSED])
    bench(source, clock).loop.run()
    assert sum(clock.slept_s) == 1 + 2 + 4 + 8 + 16


def test_an_edited_address_is_tried_at_once_and_an_edited_pace_is_not(clock: FakeClock) -> None:
    ready = bench(ScriptedSource([], clock, open_errors=[REFUSED] * 9), clock)
    opened_s: list[float] = []

    def edit() -> None:
        if clock.now_s == 1010:
            ready.loop.use_policy(CapturePolicy(2, 1, 60))
        if clock.now_s == 1100:
            opened_s.append(clock.now_s)
            ready.loop.use_source(ScriptedSource([frame(1)], clock, name="another"))

    clock.while_asleep = edit
    ready.loop.run()
    assert (ready.loop.status.frames, ready.loop.status.description) == (1, "another")
    assert clock.now_s < 1102


def test_a_source_that_is_closed_for_a_while_fails_with_the_reason_and_comes_back(clock: FakeClock) -> None:
    source = ScriptedSource(frames(1, 40), clock)
    ready = bench(source, clock, CapturePolicy(1, 1, 60))
    states: list[str] = []

    def close() -> None:
        states.append(ready.loop.status.state)
        if clock.now_s == 1010:
            ready.loop.close_for_a_while(LastingError("it takes too much memory"))

    clock.while_asleep = close
    ready.loop.run()
    status = ready.loop.status
    assert (status.frames, status.reopened, status.last_error) == (40, 1, "it takes too much memory")
    assert states.count("reopening") == 600
    assert source.closed == 2


# Cameras that are mounted sideways.


def test_the_picture_is_turned_as_the_settings_say(clock: FakeClock) -> None:
    slot_frame = noise(1)
    ready = played([slot_frame], clock, CapturePolicy(0, 1, 60, turn=Turn(90, hflip=True)))
    got = ready.slot.take(0)
    assert got is not None
    assert got.pixels.shape == (8, 6, 3)
    # Clockwise, the lower left corner becomes the upper left one; mirrored, the upper right one.
    np.testing.assert_array_equal(got.pixels[0, -1], slot_frame.pixels[-1, 0])
    assert got.pixels.flags.c_contiguous
