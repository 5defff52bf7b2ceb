"""The inference thread: classifies the newest frame, steadies the answer and publishes it."""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol

from edge_agent.config.schema import watched
from edge_agent.errors import EngineError
from edge_agent.frame import Frame
from edge_agent.inference.loading import LoadedModel
from edge_agent.mqtt.contract.payloads import EventImageInfo, LabelChanged, RawPrediction, State, encode
from edge_agent.pipeline.answers import Answer, Moment
from edge_agent.pipeline.frame_stats import FrameRate, FrameStats
from edge_agent.pipeline.jpeg import encode_jpeg
from edge_agent.pipeline.last_label import LastLabel
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.pipeline.opening import opening_of
from edge_agent.pipeline.rules import Rules
from edge_agent.pipeline.stabilizer import LabelChange, Stable
from edge_agent.pipeline.turns import Turns
from edge_agent.pipeline.view import View, cost_fits
from edge_agent.system.clock import Clock
from edge_agent.system.log import RepeatedError
from edge_agent.system.systemd import WatchdogGate

if TYPE_CHECKING:
    from edge_agent.teach.ask import Asking
    from edge_agent.teach.head import Head

_LOG = logging.getLogger(__name__)
_TAKE_TIMEOUT_S = 0.5
_MOST_FAILURES = 10


class ResultSink(Protocol):
    """Where answers go: the link to the broker. None of these blocks."""

    def publish_state(self, state: State) -> None: ...
    def publish_event(self, changed: LabelChanged) -> None: ...
    def publish_prediction(self, prediction: RawPrediction) -> None: ...
    def publish_image(self, jpeg: bytes) -> None: ...
    def publish_event_image(self, jpeg: bytes, info: EventImageInfo) -> None: ...


class InferenceLoop:
    """Runs on the inference thread, the only one that touches the engine, until `stop` or the last frame.

    Other threads change it only through `between_frames`, and read single numbers: nothing needs a lock.
    """

    def __init__(
        self,
        frames: LatestFrame,
        model: LoadedModel,
        rules: Rules,
        sink: ResultSink,
        next_seq: Callable[[], int],
        last_label: Callable[[str], LastLabel],
        clock: Clock,
        progress: WatchdogGate,
        *,
        max_frames: int | None = None,
    ) -> None:
        """`next_seq` returns the number of the next message; `last_label` what subscribers know of a view, by
        its name; `max_frames`: end after so many classified frames, None for never."""
        self._frames = frames
        self._model = model
        self._rules = rules
        self._opening = opening_of(rules.schedule)
        self._is_open = True
        self._turns = Turns()
        self._cost_s = 0.0
        self._sink = sink
        self._next_seq = next_seq
        self._last_label = last_label
        self._clock = clock
        self._progress = progress
        self._max_frames = max_frames
        self._views = {name: View(name, rules, last_label(name)) for name in watched(rules.regions)}
        self._errors = RepeatedError(_LOG, clock.monotonic_s)
        self._stats = FrameStats()
        self._actions: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._is_running = False
        self._last_frame: Frame | None = None
        self._last_image_s = -math.inf
        self._classified = 0
        self._skipped = 0
        self._failed_in_a_row = 0
        self._on_answer: Callable[[State], None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether its thread has begun, and so does what is asked for between frames."""
        return self._is_running

    @property
    def classified(self) -> int:
        """Frames classified since the start."""
        return self._classified

    @property
    def skipped(self) -> int:
        """Frames since the start that needed no inference: nothing had moved, or the schedule was closed."""
        return self._skipped

    @property
    def flaps(self) -> int:
        """Label changes that were taken back at once, in what is watched now."""
        return sum(view.flaps for view in tuple(self._views.values()))

    @property
    def shown(self) -> str:
        """The latest labels with their scores, for a status line; empty before the first frame."""
        shown = ((view.name, view.shown) for view in tuple(self._views.values()) if view.shown)
        return ", ".join(f"{name}: {text}" if name else text for name, text in shown)

    def view(self, name: str) -> View | None:
        """What is watched under that name, which is empty for the whole picture; None where it is not."""
        return self._views.get(name)

    @property
    def schedule(self) -> Literal["", "open", "closed"]:
        """Whether labels are published just now; empty where there is no schedule."""
        return ("open" if self._is_open else "closed") if self._opening.is_scheduled else ""

    @property
    def last_frame(self) -> Frame | None:
        """The frame that was classified last."""
        return self._last_frame

    def show_to(self, on_answer: Callable[[State], None]) -> None:
        """Call `on_answer` on the inference thread with every answer, also one that is not published; its
        number is 0. Call this before the loop runs."""
        self._on_answer = on_answer

    def take_rate(self) -> FrameRate:
        """Frame rate and latency since the last call."""
        return self._stats.take(self._clock.monotonic_s())

    def stop(self) -> None:
        """End after the frame at hand."""
        self._stopping.set()

    def between_frames(self, action: Callable[[], None]) -> None:
        """Call `action` on the inference thread before the next frame; an error in it ends the loop."""
        self._actions.put(action)

    def adopt(self, rules: Rules) -> None:
        """Follow other rules, keeping the votes and the labels so far. Call it between frames."""
        if rules.schedule != self._rules.schedule:
            self._opening = opening_of(rules.schedule)
        before, self._rules = self._views, rules
        views: dict[str, View] = {}
        for name in watched(rules.regions):
            if name in before:
                views[name] = before[name]
                views[name].adopt(rules)
            else:
                views[name] = View(name, rules, self._last_label(name))
        self._views = views
        for name in before.keys() - views.keys():
            before[name].close()

    def use_head(self, name: str, head: Head | None, of_period: Mapping[str, Head]) -> None:
        """Have a view answer by this head, and by those of periods, see `View.use_head`, if it is still
        watched. Call it between frames."""
        if (view := self._views.get(name)) is not None:
            view.use_head(head, of_period)

    def use_asking(self, name: str, asking: Asking | None) -> None:
        """Have a view keep frames that are worth a question. Call it between frames."""
        if (view := self._views.get(name)) is not None:
            view.asking = asking

    def close(self) -> None:
        """Keep the labels over a restart. Call it once the loop has ended."""
        for view in self._views.values():
            view.close()

    @property
    def model(self) -> LoadedModel:
        """The model that classifies now."""
        return self._model

    def use_model(self, model: LoadedModel) -> None:
        """Classify with another model. Call it between frames; the old one is not closed."""
        self._model = model

    def run(self) -> None:
        """Classify frame after frame. Raises EngineError when the engine keeps failing."""
        self._is_running = True
        while not self._stopping.is_set():
            self._do_actions()
            frame = self._frames.take(_TAKE_TIMEOUT_S)
            if frame is not None:
                self._attempt(frame)
            elif self._frames.closed:
                return
            if self._max_frames is not None and self._classified >= self._max_frames:
                return

    def _do_actions(self) -> None:
        while not self._actions.empty():
            self._actions.get()()
            for view in self._views.values():
                view.look_again()  # the same scene may have another answer now

    def _attempt(self, frame: Frame) -> None:
        """Classify or skip one frame; a failure is survived unless it is one of many in a row."""
        try:
            self._is_open = self._opening.is_open(frame.pixels, self._clock.time_s())
            parts = self._parts(frame)
            due = self._due(parts) if self._is_open else []
            if due:
                self.process(frame, due)
            elif not parts:
                self._progress.processed()
            else:
                self._skip()
        except EngineError as error:
            self._failed_in_a_row += 1
            for view in self._views.values():
                view.look_again()
            if self._failed_in_a_row >= _MOST_FAILURES:
                raise
            self._errors.report("inference", f"a frame could not be classified: {error}")
        else:
            self._failed_in_a_row = 0
            self._errors.recovered("inference", "frames are classified again")

    def _parts(self, frame: Frame) -> dict[str, Frame]:
        """What each view sees of a frame, by its name; without those of which the frame shows nothing."""
        parts = {name: view.part(frame) for name, view in self._views.items()}
        return {name: part for name, part in parts.items() if part is not None}

    def _due(self, parts: Mapping[str, Frame]) -> list[tuple[View, Frame]]:
        """The views with something new to see, with their parts of the frame, in the order of their turns."""
        now_s = self._clock.monotonic_s()
        moving = {name for name, part in parts.items() if not self._views[name].may_rest(part, now_s)}
        order = self._turns.order(self._priorities) if len(moving) > 1 else moving
        return [(self._views[name], parts[name]) for name in order if name in moving]

    @property
    def _priorities(self) -> dict[str, int]:
        regions = self._rules.regions
        return {name: regions[name].priority if name else 1 for name in self._views}

    def _skip(self) -> None:
        self._skipped += 1
        self._stats.skip()
        self._progress.processed()

    def process(self, frame: Frame, due: Sequence[tuple[View, Frame]] | None = None) -> None:
        """Classify the parts of a frame that are due, by default all, and publish what follows.

        Those that would not be done before the next frame comes keep their turn for that one. Raises
        EngineError.
        """
        if due is None:
            due = [(self._views[name], part) for name, part in self._parts(frame).items()]
        if not due:
            return
        begin_s = now_s = self._clock.monotonic_s()
        is_unknown = False
        for number, (view, part) in enumerate(due):
            if number and not cost_fits(now_s - begin_s, self._cost_s, self._rules.period_s):
                for waiting, _ in due[number:]:
                    waiting.look_again()
                break
            answer, stable = self._look(view, part)
            is_unknown = is_unknown or stable.unknown
            if len(due) > 1:
                self._turns.taken(view.name, self._priorities[view.name])
            now_s, before_s = self._clock.monotonic_s(), now_s
            self._cost_s = now_s - before_s
        self._publish_picture(frame, now_s)
        self._last_frame = frame
        self._classified += 1
        self._stats.add(answer.age_ms, unknown=is_unknown)
        self._progress.processed()

    def _look(self, view: View, part: Frame) -> tuple[Answer, Stable]:
        """Classify a view's part of a frame, and publish what is due."""
        prediction = self._model.classifier.classify(part)
        moment = Moment.now(self._clock)
        judged = view.judge(part, prediction, moment)
        answer = Answer(part, judged.prediction, moment, view.name, judged.head)
        if judged.change is not None:
            self._announce(answer, judged.change)
        if judged.is_due:
            self._sink.publish_state(answer.state(judged.stable, self._model, self._next_seq()))
        if self._on_answer is not None:
            self._on_answer(answer.state(judged.stable, self._model, 0))
        if self._rules.publish.prediction:
            self._sink.publish_prediction(replace(answer, prediction=prediction).raw())
        return answer, judged.stable

    def _announce(self, answer: Answer, change: LabelChange) -> None:
        """Publish the event, and the picture of the very frame."""
        event = answer.changed(change, self._next_seq())
        self._sink.publish_event(event)
        if self._rules.publish.event_image:
            info = answer.pictured(event)
            jpeg = encode_jpeg(answer.frame.pixels, self._rules.publish.image_quality, encode(info))
            self._sink.publish_event_image(jpeg, info)

    def _publish_picture(self, frame: Frame, now_s: float) -> None:
        publish = self._rules.publish
        if publish.image and now_s - self._last_image_s >= publish.image_interval_s:
            self._last_image_s = now_s
            self._sink.publish_image(encode_jpeg(frame.pixels, publish.image_quality))
