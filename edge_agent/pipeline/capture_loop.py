"""The capture thread: opens the source, reads it at its pace, and reopens it when it fails."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Protocol, Self

from edge_agent.config.schema import Config
from edge_agent.errors import SourceError
from edge_agent.frame import Box, Frame
from edge_agent.lean_dataclass import dataclass
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.pipeline.pace import Pacer
from edge_agent.pipeline.part import box_of
from edge_agent.pipeline.standstill import Standstill
from edge_agent.pipeline.turn import UPRIGHT, Turn
from edge_agent.sources import Damageable, Focusing, LastingError, Source, Streaming
from edge_agent.system.backoff import Backoff
from edge_agent.system.log import RepeatedError, kind_of, place_of, say, say_defect

_LOG = logging.getLogger(__name__)
_IDLE_ROUND_S = 1.0
_HANDOVER_ROUND_S = 0.25
_TROUBLE, _CLOSING = "source", "closing the source"

LASTING_PAUSE_S = 600.0
"""The pause after a LastingError."""

CaptureState = Literal["starting", "running", "reopening", "paused", "ended"]


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """The state of the capture thread at one moment."""

    state: CaptureState
    description: str
    """Names the source, without secrets."""
    frames: int = 0
    """Captured since the start, by every source there was."""
    dropped: int = 0
    """Captured, but replaced by a newer one before they were taken."""
    reopened: int = 0
    """How often a source that had failed delivered again."""
    last_error: str = ""
    consecutive_failures: int = 0
    unusable: int = 0
    """Received, but not handed over: damaged, too large, of a single colour, or never changing."""


@dataclass(frozen=True, slots=True)
class CapturePolicy:
    """How fast to capture, which frames to hand over, and how long to pause before reopening."""

    fps: float
    """Frames a second; 0 for as many as possible."""
    reopen_min_s: float
    reopen_max_s: float
    warmup_s: float = 0.0
    """No frame is taken for so long after each opening."""
    frozen_after_s: float = 0.0
    """A picture may stay the same for so long; 0 for any time."""
    must_change: bool = False
    """Where it may not: after each opening, whether another picture comes before any is taken."""
    turn: Turn = UPRIGHT
    focus: Box | None = None
    """The only part of the turned picture that is looked at; None where that is all of it, or several."""

    @classmethod
    def from_config(cls, config: Config) -> Self:
        source, boxes = config.source, [box_of(region) for region in config.regions.values()]
        is_camera = source.type not in ("file", "folder")
        return cls(
            source.fps,
            source.reopen_min_s,
            source.reopen_max_s,
            source.warmup_s if is_camera else 0.0,
            source.frozen_after_s if is_camera else 0.0,
            source.type == "rtsp",
            Turn.from_config(source),
            boxes[0] if len(boxes) == 1 else None,
        )

    def aim(self, source: Source) -> None:
        """Tell a source what is looked at, if it can make use of that."""
        if isinstance(source, Focusing):
            source.focus(self.turn.back(self.focus) if self.focus else None)

    def turned(self, frame: Frame) -> Frame:
        """A frame as it is looked at."""
        return replace(frame, pixels=self.turn(frame.pixels), window=self.turn.box(frame.window))


class CaptureObserver(Protocol):
    """Learns that the capture thread is alive: the watchdog's gate."""

    def captured(self) -> None:
        """A frame is on its way to the classifier."""
        ...

    def discarded(self) -> None:
        """That frame will not be classified after all."""
        ...

    def idle(self) -> None:
        """There is no frame for a good reason: the source is being reopened, paused, or none is due."""
        ...


class CaptureLoop:
    """Puts the newest frame of a source into the slot, until `stop` or the source's end.

    `run` belongs to the capture thread; everything else may be called from any thread. A source that fails
    is closed and reopened, with pauses that double; the log has its error once. So is one that raises what no
    source should: camera libraries and hostile data know no other way to fail. Frames of a live source that
    nobody takes in time are replaced by newer ones; any other source waits.
    """

    def __init__(
        self,
        source: Source,
        frames: LatestFrame,
        policy: CapturePolicy,
        observer: CaptureObserver,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        """`clock` returns seconds; `sleep` waits so many seconds, or less if the event is set."""
        self._source = source
        self._frames = frames
        self._policy = policy
        self._observer = observer
        self._clock = clock
        self._sleep = sleep
        self._pacer = Pacer(policy.fps)
        self._backoff = Backoff(policy.reopen_min_s, policy.reopen_max_s)
        self._errors = RepeatedError(_LOG, clock)
        self._standstill = Standstill()
        self._is_open = False
        self._is_first = False
        self._opened_s = -math.inf
        self._reopen_s = -math.inf
        self._lasting_failures = 0
        self._passed_over = 0
        self._damaged_before = 0
        self._pending: Frame | None = None
        # Replaced as a whole, and by the capture thread only.
        self._status = CaptureStatus("starting", source.description)
        # Commands of other threads, under the lock; the event says that there are some.
        self._lock = threading.Lock()
        self._commanded = threading.Event()
        self._stopping = False
        self._paused = False
        self._next_source: Source | None = None
        self._next_policy: CapturePolicy | None = None
        self._next_error: LastingError | None = None

    @property
    def status(self) -> CaptureStatus:
        unusable = self._passed_over + self._damaged_before + _damaged(self._source)
        return replace(self._status, dropped=self._frames.dropped, unusable=unusable)

    def stop(self) -> None:
        """End `run` soon: at the latest when the read under way has timed out."""
        with self._lock:
            self._stopping = True
            self._commanded.set()
        self._frames.close()

    def pause(self) -> None:
        """Capture no more until `resume`; a live source is closed meanwhile."""
        self._set_paused(True)

    def resume(self) -> None:
        self._set_paused(False)

    def use_source(self, source: Source) -> None:
        """Close the present source and go on with `source`."""
        with self._lock:
            self._next_source = source
            self._commanded.set()

    def use_policy(self, policy: CapturePolicy) -> None:
        """Follow another pace and other pauses from now on, without reopening the source."""
        with self._lock:
            self._next_policy = policy
            self._commanded.set()

    def close_for_a_while(self, error: LastingError) -> None:
        """Close the source as if it had failed with `error`."""
        with self._lock:
            self._next_error = error
            self._commanded.set()

    def run(self) -> None:
        """Capture until there is nothing more to do. Raises nothing that a source does."""
        try:
            while self._round():
                pass
        finally:
            self._close_source()
            self._frames.close()

    def _set_paused(self, paused: bool) -> None:
        with self._lock:
            self._paused = paused
            self._commanded.set()

    def _round(self) -> bool:
        """Do what is next; False when there is nothing left to do."""
        stopping, paused = self._take_commands()
        if stopping:
            return False
        if paused:
            self._rest_paused()
            return True
        if self._status.state == "paused":
            self._status = replace(self._status, state="running" if self._is_open else "starting")
        if self._pending is not None:
            self._hand_over(self._pending)
            return True
        try:
            return self._capture()
        except SourceError as error:
            self._recover_from(error)
        except Exception as error:
            self._recover_from(self._unexpected(error), error)
        return True

    def _unexpected(self, error: Exception) -> SourceError:
        """What an error counts as that no source should raise. Its text may hold a secret."""
        if isinstance(error, MemoryError):
            # The guard measures what is left, and decides.
            return SourceError(f"{self._source.description}: there is not enough memory for its pictures")
        return SourceError(
            f"{self._source.description} has failed unexpectedly, with {kind_of(error)} at {place_of(error)};"
            " please report this, with the agent's log"
        )

    def _take_commands(self) -> tuple[bool, bool]:
        with self._lock:
            self._commanded.clear()
            source, self._next_source = self._next_source, None
            policy, self._next_policy = self._next_policy, None
            error, self._next_error = self._next_error, None
            stopping, paused = self._stopping, self._paused
        if policy is not None:
            self._follow(policy)
        if source is not None and not stopping:
            self._change_source(source)
        elif error is not None:
            self._recover_from(error)
        return stopping, paused

    def _follow(self, policy: CapturePolicy) -> None:
        pauses_s = (policy.reopen_min_s, policy.reopen_max_s)
        if pauses_s != (self._policy.reopen_min_s, self._policy.reopen_max_s):
            self._backoff = Backoff(*pauses_s)
        self._policy = policy
        self._pacer = Pacer(policy.fps)
        policy.aim(self._source)

    def _change_source(self, source: Source) -> None:
        self._close_source()
        self._pending = None
        self._damaged_before += _damaged(self._source)
        self._source = source
        self._backoff.reset()
        self._standstill.reset()
        self._reopen_s = -math.inf
        self._lasting_failures = 0
        say(_LOG, logging.INFO, f"the source is now {source.description}")
        self._errors.recovered(_TROUBLE, "the source that failed was replaced")
        self._status = replace(
            self._status, state="starting", description=source.description, consecutive_failures=0
        )

    def _rest_paused(self) -> None:
        if self._source.live:
            self._close_source()
            self._standstill.reset()
            if self._frames.discard():
                self._observer.discarded()
        self._status = replace(self._status, state="paused")
        self._rest(_IDLE_ROUND_S)

    def _capture(self) -> bool:
        """Read one frame if none of the commands interrupts; False at the end of the source."""
        if not self._is_open:
            if (pause_s := self._reopen_s - self._clock()) > 0:
                self._rest(pause_s)
                return True
            self._policy.aim(self._source)
            self._source.open()
            self._is_open = True
            self._opened_s = self._clock()
            self._is_first = True
            self._standstill.opened()
            self._status = replace(self._status, description=self._source.description)
        if not self._wait_until_due():
            return True
        frame = self._source.read()
        if frame is None:
            self._close_source()
            self._status = replace(self._status, state="ended")
            say(_LOG, logging.INFO, f"{self._source.description} has ended", frames=self._status.frames)
            return False
        is_usable, is_first, self._is_first = self._is_usable(frame), self._is_first, False
        if not is_usable and is_first and self._policy.must_change:
            return True  # the next one, which is read at once, shows whether the picture changes
        self._pacer.taken(self._clock())
        if not is_usable:
            self._passed_over += 1
            self._observer.idle()
            return True
        self._count_frame()
        self._hand_over(self._policy.turned(frame))
        return True

    def _is_usable(self, frame: Frame) -> bool:
        """Whether a frame shows anything. Raises SourceError where the camera stands still."""
        limit_s, must_change = self._policy.frozen_after_s, self._policy.must_change
        return limit_s <= 0 or not self._standstill.shows_nothing(
            frame.pixels, self._clock(), limit_s, must_change=must_change
        )

    def _due_in_s(self) -> float:
        now_s = self._clock()
        return max(self._pacer.due_in_s(now_s), self._opened_s + self._policy.warmup_s - now_s)

    def _wait_until_due(self) -> bool:
        """Wait for the time of the next frame, letting those before it pass; False when interrupted."""
        while not self._commanded.is_set() and (wait_s := self._due_in_s()) > 0:
            if isinstance(self._source, Streaming):
                self._observer.idle()
                if self._source.skip():
                    continue
            self._rest(wait_s)
        return not self._commanded.is_set()

    def _count_frame(self) -> None:
        failures = self._status.consecutive_failures
        if failures:
            self._backoff.reset()
            self._lasting_failures = 0
            self._errors.recovered(_TROUBLE, f"{self._source.description} delivers again")
        self._status = replace(
            self._status,
            state="running",
            frames=self._status.frames + 1,
            reopened=self._status.reopened + (failures > 0),
            consecutive_failures=0,
        )

    def _hand_over(self, frame: Frame) -> None:
        # Before the frame can be taken: otherwise the observer might see it processed before it is captured.
        self._observer.captured()
        if self._source.live:
            self._frames.put(frame)
        elif self._frames.put_when_free(frame, _HANDOVER_ROUND_S):
            self._pending = None
        else:
            self._pending = frame

    def _recover_from(self, error: SourceError, defect: Exception | None = None) -> None:
        """Close the source until its pause is over. `defect` is what `error` stands for, if for anything."""
        self._close_source()
        failures = self._status.consecutive_failures + 1
        pause_s = self._pause_after(error)
        is_new = self._errors.report(_TROUBLE, str(error), reopening_in_s=pause_s)
        if is_new and defect is not None:
            say_defect(_LOG, "this is where the source has failed unexpectedly", defect)
        self._status = replace(
            self._status, state="reopening", last_error=str(error), consecutive_failures=failures
        )
        self._reopen_s = self._clock() + pause_s

    def _pause_after(self, error: SourceError) -> float:
        pause_s = self._backoff.next_s()
        if not isinstance(error, LastingError):
            self._lasting_failures = 0
            return pause_s
        self._lasting_failures += 1
        return max(pause_s, LASTING_PAUSE_S) if self._lasting_failures >= error.attempts else pause_s

    def _close_source(self) -> None:
        self._is_open = False
        try:
            self._source.close()
        except Exception as error:
            self._errors.report(_CLOSING, f"closing the source has failed, with {kind_of(error)}")

    def _rest(self, seconds: float) -> None:
        """Do nothing for so long, or until there is a command."""
        end_s = self._clock() + seconds
        while not self._commanded.is_set() and (left_s := end_s - self._clock()) > 0:
            self._observer.idle()
            self._sleep(self._commanded, min(left_s, _IDLE_ROUND_S))


def _damaged(source: Source) -> int:
    return source.damaged if isinstance(source, Damageable) else 0
