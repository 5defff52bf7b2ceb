"""What is published of a classified frame: the payloads `state`, `prediction` and `event`. Pure, no I/O."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from edge_agent.frame import Frame
from edge_agent.inference import Prediction
from edge_agent.inference.loading import LoadedModel
from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.payloads import (
    EventImageInfo,
    FrameRef,
    HeadRef,
    LabelChanged,
    ModelRef,
    RawPrediction,
    StageLatency,
    State,
    utc,
)
from edge_agent.pipeline.stabilizer import LabelChange, Stable
from edge_agent.system.clock import Clock


@dataclass(frozen=True, slots=True)
class Moment:
    """One reading of the clocks."""

    monotonic_s: float
    time_s: float
    synced: bool
    """Whether the wall clock had been set."""

    @classmethod
    def now(cls, clock: Clock) -> Self:
        return cls(clock.monotonic_s(), clock.time_s(), clock.synced())


@dataclass(frozen=True, slots=True)
class Answer:
    """A frame, and what the model said of it at the moment `classified`."""

    frame: Frame
    prediction: Prediction
    classified: Moment
    region: str = ""
    """The part of the picture that it is about; empty for the whole."""
    head: HeadRef | None = None
    """The taught head that the labels are of."""

    @property
    def age_ms(self) -> float:
        """From the end of the frame's capture to its classification."""
        return (self.classified.monotonic_s - self.frame.captured_s) * 1000

    def state(self, stable: Stable, model: LoadedModel, seq: int) -> State:
        """The steadied answer, `stable`, with the number `seq`."""
        return State(
            seq=seq,
            ts=self._captured(),
            ts_synced=self.classified.synced,
            label=stable.label,
            score=stable.score,
            unknown=stable.unknown,
            top=self.prediction.top,
            frame=self._frame_ref(),
            model=model_ref(model),
            latency_ms=self._latency(),
            region=self.region,
            head=self.head,
        )

    def raw(self) -> RawPrediction:
        """The answer as the model gave it."""
        return RawPrediction(
            ts=self._captured(),
            ts_synced=self.classified.synced,
            top=self.prediction.top,
            frame=self._frame_ref(),
            latency_ms=self._latency(),
            region=self.region,
        )

    def changed(self, change: LabelChange, seq: int) -> LabelChanged:
        """The event that the label has changed with this frame, with the number `seq`."""
        return LabelChanged(
            seq=seq,
            ts=self._captured(),
            ts_synced=self.classified.synced,
            from_label=change.from_label,
            to_label=change.to_label,
            score=change.score,
            region=self.region,
        )

    def pictured(self, event: LabelChanged) -> EventImageInfo:
        """What is said of the picture of an event."""
        return EventImageInfo(
            event.seq, event.ts, event.ts_synced, event.to_label, event.score, region=event.region
        )

    def _captured(self) -> datetime:
        """When the frame was captured, by the wall clock as it is set now."""
        return utc(self.classified.time_s - (self.classified.monotonic_s - self.frame.captured_s))

    def _frame_ref(self) -> FrameRef:
        return FrameRef(self.frame.id, self.age_ms)

    def _latency(self) -> StageLatency:
        return StageLatency(self.frame.capture_ms, self.prediction.preprocess_ms, self.prediction.infer_ms)


def model_ref(model: LoadedModel) -> ModelRef:
    """What names the model, and how it runs."""
    sidecar, engine = model.artifact.sidecar, model.engine.info
    return ModelRef(sidecar.name, sidecar.sha256, engine.precision, engine.engine)
