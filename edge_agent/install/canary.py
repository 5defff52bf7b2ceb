"""Runs a model on pictures as the agent would, before anything changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_agent.errors import EngineError, ModelError, SourceError
from edge_agent.frame import Frame
from edge_agent.inference import Engine, Score
from edge_agent.inference.classifier import Classifier
from edge_agent.inference.labels import LabelMap
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.sidecar import Artifact
from edge_agent.sources.picture import read_picture
from edge_agent.system.text import printable


@dataclass(frozen=True, slots=True)
class Sung:
    """What a model says of one picture."""

    picture: Path
    best: Score | None
    infer_ms: float

    def __str__(self) -> str:
        best = f"{printable(self.best.label)} {self.best.score:.0%}" if self.best else "nothing"
        return f"{best}, {self.infer_ms:.0f} ms"


def sing(artifact: Artifact, engine: Engine, labels: LabelMap, pictures: Sequence[Path]) -> list[Sung]:
    """Classify pictures. Raises ModelError where the answers are no numbers or no picture can be read."""
    classifier = Classifier.from_artifact(artifact, engine, labels)
    found = [each for path in pictures if (each := _sung(classifier, path)) is not None]
    if not found:
        raise ModelError("none of the pictures can be read")
    return found


def _sung(classifier: Classifier, path: Path) -> Sung | None:
    try:
        frame = Frame(0, 0.0, 0.0, read_picture(path), printable(path.name))
    except SourceError:
        return None
    try:
        prediction = classifier.classify(frame)
    except EngineError as error:
        raise ModelError(f"{path.name} could not be classified: {error}") from None
    return Sung(path, prediction.top[0] if prediction.top else None, prediction.infer_ms)
