"""The slot between the capture thread and the inference thread: it holds one frame, the newest."""

from __future__ import annotations

import threading

from edge_agent.frame import Frame


class LatestFrame:
    """Hands frames from one thread to another without a queue: a frame that nobody took in time is replaced.

    So a slow taker never works on an old frame, and memory holds at most one frame between the two.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._dropped = 0
        self._closed = False

    @property
    def dropped(self) -> int:
        """How many frames were replaced, or discarded, before they were taken."""
        with self._changed:
            return self._dropped

    @property
    def closed(self) -> bool:
        """True when no frame is waiting and none will come."""
        with self._changed:
            return self._closed and self._frame is None

    def put(self, frame: Frame) -> None:
        """Offer `frame` in place of the waiting one, which is dropped; once closed, drop `frame`."""
        with self._changed:
            if self._closed:
                self._dropped += 1
                return
            self._drop_waiting()
            self._frame = frame
            self._changed.notify_all()

    def put_when_free(self, frame: Frame, timeout_s: float) -> bool:
        """Offer `frame` once the waiting one was taken; False when that did not happen in time, or at all."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is None or self._closed, timeout_s)
            if self._frame is not None or self._closed:
                return False
            self._frame = frame
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float) -> Frame | None:
        """Return the newest frame, waiting for one; None when none came in time, or none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._closed, timeout_s)
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """No more frames come; the waiting one can still be taken. Wakes both sides."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def discard(self) -> bool:
        """Drop the waiting frame; True when there was one."""
        with self._changed:
            dropped = self._drop_waiting()
            self._changed.notify_all()
            return dropped

    def _drop_waiting(self) -> bool:
        waiting = self._frame is not None
        self._dropped += waiting
        self._frame = None
        return waiting
