"""Runs a model on pictures as the agent would, before anything changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config.schema import Config
from edge_agent.errors import EngineError, ModelError, SourceError
from edge_agent.frame import Frame
from edge_agent.inference import Score
from edge_agent.inference.choice import choose_here, load_engine
from edge_agent.inference.classifier import Classifier
from edge_agent.inference.loading import label_map
from edge_agent.model.sidecar import Artifact
from edge_agent.sources.picture import read_picture
from edge_agent.system.text import printable


@dataclass(frozen=True, slots=True)
class Sung:
    """What a model says of one picture."""

    picture: Path
    best: Score | None
    infer_ms: float


def sing(
    artifact: Artifact, config: Config, pictures: Sequence[Path], environment: Mapping[str, str]
) -> list[Sung]:
    """Classify pictures with the engine and precision that the agent would choose within its budget.

    Raises BudgetError or EngineError where nothing here can run the model, ConfigError where the
    configuration names labels that it does not have, and ModelError where its answers are no numbers or no
    picture can be read.
    """
    choice = choose_here(artifact, config.model, config.memory, environment)
    labels = label_map(artifact, config.labels)
    engine = load_engine(
        artifact, choice.engine, choice.precision, threads=choice.threads, arithmetic=choice.arithmetic
    )
    with closing(engine):
        classifier = Classifier.from_artifact(artifact, engine, labels)
        found = [each for path in pictures if (each := _sung(classifier, path)) is not None]
    if not found:
        raise ModelError("none of the pictures can be read: name others with --canary DIR")
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
