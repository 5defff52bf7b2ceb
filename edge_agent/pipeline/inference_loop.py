"""The inference thread: classifies the newest frame, steadies the answer and publishes it."""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

from edge_agent.config.schema import Config, MotionConfig, PublishConfig, StabilizerConfig
from edge_agent.errors import EngineError
from edge_agent.frame import Frame
from edge_agent.inference.loading import LoadedModel
from edge_agent.mqtt.contract.payloads import EventImageInfo, LabelChanged, RawPrediction, State, encode
from edge_agent.pipeline.answers import Answer, Moment
from edge_agent.pipeline.frame_stats import FrameRate, FrameStats
from edge_agent.pipeline.jpeg import encode_jpeg
from edge_agent.pipeline.last_label import LastLabel
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.pipeline.motion import MotionGate
from edge_agent.pipeline.stabilizer import LabelChange, PublishGate, Stabilizer, Stable
from edge_agent.system.clock import Clock
from edge_agent.system.log import RepeatedError
from edge_agent.system.systemd import WatchdogGate

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


@dataclass(frozen=True, slots=True)
class Rules:
    """The part of the configuration that the loop follows; replaced as a whole when that changes."""

    stabilizer: StabilizerConfig
    publish: PublishConfig
    motion: MotionConfig

    @classmethod
    def from_config(cls, config: Config) -> Self:
        publish = config.publish
        if publish.state == "auto":
            mode: Literal["on_change", "every_frame"] = (
                "on_change" if config.homeassistant.enabled else "every_frame"
            )
            publish = replace(publish, state=mode)
        return cls(config.stabilizer, publish, config.motion)


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
        last_label: LastLabel,
        clock: Clock,
        progress: WatchdogGate,
        *,
        max_frames: int | None = None,
    ) -> None:
        """`next_seq` returns the number of the next message; `max_frames`: end after so many classified
        frames, None for never."""
        self._frames = frames
        self._model = model
        self._publish = rules.publish
        self._stabilizer = Stabilizer(rules.stabilizer)
        self._gate = PublishGate(rules.publish.state, rules.publish.heartbeat_s)
        self._motion = MotionGate(rules.motion)
        self._sink = sink
        self._next_seq = next_seq
        self._last_label = last_label
        self._clock = clock
        self._progress = progress
        self._max_frames = max_frames
        self._errors = RepeatedError(_LOG, clock.monotonic_s)
        self._stats = FrameStats()
        self._actions: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._last_frame: Frame | None = None
        self._last_image_s = -math.inf
        self._shown = ""
        self._classified = 0
        self._skipped = 0
        self._failed_in_a_row = 0
        self._on_answer: Callable[[State], None] | None = None

    @property
    def classified(self) -> int:
        """Frames classified since the start."""
        return self._classified

    @property
    def skipped(self) -> int:
        """Frames since the start that needed no inference, because nothing had moved."""
        return self._skipped

    @property
    def flaps(self) -> int:
        """Label changes that were taken back at once."""
        return self._stabilizer.flaps

    @property
    def shown(self) -> str:
        """The latest label with its score, for a status line; empty before the first frame."""
        return self._shown

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
        """Follow other rules, keeping the votes and the label so far. Call it between frames."""
        self._publish = rules.publish
        self._stabilizer.adopt(rules.stabilizer)
        self._gate = PublishGate(rules.publish.state, rules.publish.heartbeat_s)
        self._motion.adopt(rules.motion)

    @property
    def model(self) -> LoadedModel:
        """The model that classifies now."""
        return self._model

    def use_model(self, model: LoadedModel) -> None:
        """Classify with another model. Call it between frames; the old one is not closed."""
        self._model = model

    def run(self) -> None:
        """Classify frame after frame. Raises EngineError when the engine keeps failing."""
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
            self._motion.reset()  # the same scene may have another answer now

    def _attempt(self, frame: Frame) -> None:
        """Classify or skip one frame; a failure is survived unless it is one of many in a row."""
        try:
            if self._may_be_skipped(frame):
                self._skip()
            else:
                self.process(frame)
        except EngineError as error:
            self._failed_in_a_row += 1
            self._motion.reset()
            if self._failed_in_a_row >= _MOST_FAILURES:
                raise
            self._errors.report("inference", f"a frame could not be classified: {error}")
        else:
            self._failed_in_a_row = 0
            self._errors.recovered("inference", "frames are classified again")

    def _may_be_skipped(self, frame: Frame) -> bool:
        """Whether the last answer stands: nothing moves, no vote is open, and no heartbeat is due."""
        return (
            self._motion.is_still(frame.pixels, frame.captured_s)  # which has to see every frame
            and self._stabilizer.settled
            and not self._gate.heartbeat_is_due(self._clock.monotonic_s())
        )

    def _skip(self) -> None:
        self._skipped += 1
        self._stats.skip()
        self._progress.processed()

    def process(self, frame: Frame) -> None:
        """Classify one frame and publish what follows from it. Raises EngineError."""
        prediction = self._model.classifier.classify(frame)
        answer = Answer(frame, prediction, Moment.now(self._clock))
        now_s = answer.classified.monotonic_s
        stable = self._stabilizer.update(prediction.top, now_s)
        change = self._last_label.change(stable) if self._stabilizer.is_decided else None
        if change is not None:
            self._announce(answer, change)
        if self._gate.is_due(now_s, changed=stable.change is not None):
            self._sink.publish_state(answer.state(stable, self._model, self._next_seq()))
        if self._on_answer is not None:
            self._on_answer(answer.state(stable, self._model, 0))
        if self._publish.prediction:
            self._sink.publish_prediction(answer.raw())
        if self._publish.image and now_s - self._last_image_s >= self._publish.image_interval_s:
            self._last_image_s = now_s
            self._sink.publish_image(encode_jpeg(frame.pixels, self._publish.image_quality))
        self._finish(answer, stable)

    def _announce(self, answer: Answer, change: LabelChange) -> None:
        """Publish the event, and the picture of the very frame."""
        event = answer.changed(change, self._next_seq())
        self._sink.publish_event(event)
        if self._publish.event_image:
            info = EventImageInfo(event.seq, event.ts, event.ts_synced, event.to_label, event.score)
            jpeg = encode_jpeg(answer.frame.pixels, self._publish.image_quality, encode(info))
            self._sink.publish_event_image(jpeg, info)

    def _finish(self, answer: Answer, stable: Stable) -> None:
        self._last_frame = answer.frame
        self._classified += 1
        self._shown = f"{stable.label} {stable.score:.0%}"
        self._stats.add(answer.age_ms)
        self._progress.processed()
