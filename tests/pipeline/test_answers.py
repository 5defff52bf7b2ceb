"""The payloads of one classified frame."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edge_agent.inference import Prediction, Score
from edge_agent.pipeline.answers import Answer, Moment, model_ref
from edge_agent.pipeline.stabilizer import LabelChange, Stable
from tests.clock import FakeClock
from tests.daemon.assembled import fake_model
from tests.sources.helpers import frame

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
TOP = (Score("cat", 0, 0.9), Score("dog", 1, 0.08))
STABLE = Stable("cat", 0.85, unknown=False, change=None)


@pytest.fixture
def answer() -> Answer:
    """A frame captured at noon, a quarter of a second before its classification."""
    return Answer(
        frame(7, captured_s=100.0),
        Prediction(TOP, preprocess_ms=3.0, infer_ms=80.0),
        Moment(monotonic_s=100.25, time_s=NOON.timestamp() + 0.25, synced=True),
    )


def test_times_are_those_of_the_capture(answer: Answer) -> None:
    state, raw = answer.state(STABLE, fake_model(), 1), answer.raw()
    changed = answer.changed(LabelChange("dog", "cat", 0.85), 2)
    assert state.ts == raw.ts == changed.ts == NOON
    assert answer.age_ms == state.frame.age_ms == raw.frame.age_ms == 250


def test_a_state_has_the_steadied_answer_and_a_prediction_the_raw_one(answer: Answer) -> None:
    state, raw = answer.state(STABLE, fake_model(), 41), answer.raw()
    assert (state.seq, state.label, state.score, state.unknown) == (41, "cat", 0.85, False)
    assert state.top == raw.top == TOP
    assert (state.latency_ms.capture, state.latency_ms.preprocess, state.latency_ms.infer) == (1.0, 3.0, 80.0)
    assert state.model == model_ref(fake_model())


def test_an_event_says_from_what_to_what(answer: Answer) -> None:
    changed = answer.changed(LabelChange("dog", "cat", 0.85), 42)
    assert (changed.seq, changed.from_label, changed.to_label, changed.score) == (42, "dog", "cat", 0.85)


def test_a_moment_is_one_reading_of_the_clock() -> None:
    assert Moment.now(FakeClock(5.0, 6.0, is_synced=False)) == Moment(5.0, 6.0, synced=False)
