"""From a frame to its labels, with an engine that answers what the test says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from edge_agent.errors import EngineError
from edge_agent.frame import Frame
from edge_agent.inference import EngineInfo
from edge_agent.inference.classifier import Classifier, sigmoid, softmax
from edge_agent.inference.labels import LabelMap
from edge_agent.inference.preprocess import Preprocessor
from edge_agent.model.sidecar import Preprocessing

LABELS = ("cat", "dog", "espresso", "tripod")
HALF = Preprocessing(resize=16, crop=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
GREY = Frame(1, 0.0, 0.0, np.full((20, 30, 3), 255, np.uint8))


class ScriptedEngine:
    """Returns the given logits, and keeps the tensor that it was asked about."""

    info = EngineInfo("scripted", "fp32", "fp32", 1, "none")

    def __init__(self, logits: NDArray[np.float32]) -> None:
        self.logits = logits
        self.features = np.arange(3, dtype=np.float32)
        self.seen: list[NDArray[np.float32]] = []

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen.append(tensor.copy())
        return self.logits

    def close(self) -> None:
        pass


def classifier(
    *logits: float, labels: LabelMap | None = None, ticks: Iterator[float] | None = None
) -> tuple[Classifier, ScriptedEngine]:
    engine = ScriptedEngine(np.array(logits, np.float32))
    clock = (lambda: next(ticks)) if ticks else (lambda: 0.0)
    label_map = labels or LabelMap.compile(LABELS)
    return Classifier(Preprocessor(HALF), engine, label_map, clock=clock), engine


def test_a_frame_becomes_its_most_probable_labels() -> None:
    subject, engine = classifier(0.0, np.log(2), np.log(4), np.log(1))
    top = subject.classify(GREY).top
    assert [score.label for score in top] == ["espresso", "dog", "cat"]
    assert [score.score for score in top] == pytest.approx([0.5, 0.25, 0.125])
    np.testing.assert_allclose(engine.seen[0], np.ones((1, 8, 8, 3)))


def test_as_many_labels_as_asked_for() -> None:
    subject, _ = classifier(1, 2, 3, 4)
    assert len(subject.classify(GREY, 1).top) == 1
    assert len(subject.classify(GREY, 10).top) == 4


def test_a_temperature_makes_probabilities_less_sure_and_changes_no_order() -> None:
    engine = ScriptedEngine(np.array([0, np.log(4), np.log(16), 0], np.float32))
    subject = Classifier(Preprocessor(HALF), engine, LabelMap.compile(LABELS), temperature=2.0)
    assert [score.score for score in subject.classify(GREY).top] == pytest.approx([0.5, 0.25, 0.125])


def test_each_step_is_timed() -> None:
    subject, _ = classifier(1, 2, 3, 4, ticks=iter([10.0, 10.25, 11.0]))
    prediction = subject.classify(GREY)
    assert prediction.preprocess_ms == 250
    assert prediction.infer_ms == 750


def test_labels_can_be_replaced_while_running() -> None:
    subject, _ = classifier(0, 0, np.log(3), np.log(3))
    subject.use_labels(LabelMap.compile(LABELS, {"cat": "pet", "dog": "pet"}, ("pet",)))
    (only,) = subject.classify(GREY).top
    assert only.label == "pet"
    assert only.score == pytest.approx(0.25)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_an_engine_error(bad: float) -> None:
    subject, _ = classifier(1, bad, 3, 4)
    with pytest.raises(EngineError, match="not finite"):
        subject.classify(GREY)


def test_a_model_with_another_number_of_classes_is_an_engine_error() -> None:
    subject, _ = classifier(1, 2, 3)
    with pytest.raises(EngineError, match=r"shape \(3,\).*4 labels"):
        subject.classify(GREY)


@given(
    st_numpy.arrays(
        np.float32, st.integers(1, 50), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
)
def test_softmax_is_a_distribution_that_keeps_the_order(logits: NDArray[np.float32]) -> None:
    probabilities = softmax(logits)
    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities >= 0).all()
    assert probabilities[np.argmax(logits)] == probabilities.max()


@given(
    st_numpy.arrays(np.float32, 5, elements=st.floats(-50, 50, width=32)), st.floats(-1000, 1000, width=16)
)
def test_softmax_does_not_depend_on_a_common_offset(logits: NDArray[np.float32], offset: float) -> None:
    shifted = (logits.astype(np.float64) + offset).astype(np.float32)
    np.testing.assert_allclose(softmax(shifted), softmax(logits), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("logit", "score"), [(0.0, 0.5), (np.log(3), 0.75), (-np.log(3), 0.25), (-3e38, 0.0)]
)
def test_a_network_of_one_output_answers_how_likely_its_label_is(logit: float, score: float) -> None:
    engine = ScriptedEngine(np.array([logit], np.float32))
    subject = Classifier(Preprocessor(HALF), engine, LabelMap.compile(["defect"]), "sigmoid")
    (only,) = subject.classify(GREY).top
    assert only.label == "defect"
    assert only.score == pytest.approx(score)


def test_labels_that_do_not_exclude_each_other_are_merged_to_at_most_certainty() -> None:
    labels = LabelMap.compile(["cat", "tabby", "dog"], {"tabby": "cat"})
    engine = ScriptedEngine(np.array([5, 5, 0], np.float32))
    top = Classifier(Preprocessor(HALF), engine, labels, "sigmoid").classify(GREY).top
    assert [(score.label, score.score) for score in top] == [("cat", 1.0), ("dog", 0.5)]


@given(logits=st_numpy.arrays(np.float32, 9, elements=st.floats(-(2.0**127), 2.0**127, width=32)))
def test_sigmoid_never_overflows_and_keeps_the_order(logits: NDArray[np.float32]) -> None:
    with np.errstate(all="raise", under="ignore"):
        found = sigmoid(logits)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found[np.argsort(logits)]) >= 0).all()
