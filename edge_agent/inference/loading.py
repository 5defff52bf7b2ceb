"""Loads the model that the configuration names, as chosen for this host and budget."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from edge_agent.config.schema import LabelsConfig, MemoryConfig, ModelConfig
from edge_agent.errors import BudgetError, EdgeAgentError
from edge_agent.inference import Admit, Engine
from edge_agent.inference.choice import Choice, choose_here, load_engine
from edge_agent.inference.classifier import Classifier
from edge_agent.inference.fit import check_beforehand
from edge_agent.inference.labels import LabelMap
from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.limits import BudgetLimits
from edge_agent.memory.procfs import read_memory
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import Artifact, read_sidecar
from edge_agent.system import paths
from edge_agent.system.log import say

_LOG = logging.getLogger(__name__)
_TORCH_WARM_RUNS = 3
_STILL_TO_COME_MB = 10
"""What pictures, broker and outbox take once the model is loaded."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory, warmed up, with the reason for its engine and precision."""

    artifact: Artifact
    choice: Choice
    engine: Engine
    classifier: Classifier
    caches: tuple[Path, ...] = ()
    """Directories for what an engine makes of the model, to load it faster the next time."""
    needed_mb: float = math.inf
    """What it was computed to take at the least, before it was loaded."""

    @property
    def features(self) -> int:
        """How many numbers a head is taught on; 0: this network cannot be taught."""
        return self.engine.features.size

    def close(self) -> None:
        """Free its memory. It cannot classify after that."""
        self.engine.close()


def label_map(artifact: Artifact, labels: LabelsConfig) -> LabelMap:
    """The labels to publish. Raises ConfigError for one that the model does not have."""
    return LabelMap.compile(artifact.sidecar.labels, labels.map, labels.allow, labels.deny)


def accept(_choice: Choice) -> None:
    """Nothing against that choice."""


def load_model(
    model: ModelConfig,
    memory: MemoryConfig,
    labels: LabelsConfig,
    environment: Mapping[str, str],
    *,
    check: Callable[[Choice], None] = accept,
) -> LoadedModel:
    """Load and warm up the configured model. `check` may raise before any of its files is opened.

    Raises ArtifactError for a damaged model, EngineError when nothing here can run it, BudgetError when
    nothing that runs here fits the budget, by evidence or by its size, ConfigError for a label that it does
    not have.
    """
    artifact = read_sidecar(model.path)
    published = label_map(artifact, labels)
    choice = choose_here(artifact, model, memory, environment)
    check(choice)
    limits, now_mb = BudgetLimits.from_config(memory), read_memory().rss_mb
    return _load(
        artifact,
        choice,
        published,
        model.affinity or choice.affinity,
        (paths.cache_dir(environment),),
        limits.soft_mb - now_mb - _STILL_TO_COME_MB,
        lambda needed_mb: check_beforehand(choice.name, limits, now_mb, needed_mb),
    )


def reload_as(
    model: LoadedModel, precision: Precision, labels: LabelMap, affinity: tuple[int, ...]
) -> LoadedModel:
    """Free `model`, then load it again in another precision: memory is short, so there are never two.

    Returns `model` itself where the other one would take more or cannot be used. Raises ArtifactError or
    EngineError where that shows only after `model` was freed.
    """
    choice = Choice(
        model.choice.engine,
        precision,
        model.choice.threads,
        "default",
        f"{precision} to stay within the memory budget; was {model.choice.name}",
    )
    is_free = False

    def make_room(needed_mb: float) -> None:
        nonlocal is_free
        if needed_mb > model.needed_mb:
            raise BudgetError(f"{choice.name} would take {needed_mb:.0f} MB, not {model.needed_mb:.0f}")
        model.close()
        is_free = True

    try:
        return _load(model.artifact, choice, labels, affinity, model.caches, model.needed_mb, make_room)
    except EdgeAgentError as error:
        if is_free:
            raise
        say(_LOG, logging.WARNING, f"the model stays as it is: {error}")
        return model


def _load(
    artifact: Artifact,
    choice: Choice,
    labels: LabelMap,
    affinity: tuple[int, ...],
    caches: tuple[Path, ...],
    room_mb: float,
    admit: Admit,
) -> LoadedModel:
    taken_mb = 0.0

    def admit_and_note(needed_mb: float) -> None:
        nonlocal taken_mb
        admit(needed_mb)
        taken_mb = needed_mb

    engine = load_engine(
        artifact,
        choice.engine,
        choice.precision,
        threads=choice.threads,
        affinity=affinity,
        caches=caches,
        room_mb=room_mb,
        arithmetic=choice.arithmetic,
        admit=admit_and_note,
    )
    classifier = Classifier.from_artifact(artifact, engine, labels)
    model = LoadedModel(artifact, choice, engine, classifier, caches, taken_mb)
    warm_up(model)
    return model


def warm_up(model: LoadedModel) -> None:
    """Run it until it has allocated what later runs use again.

    One run does that where a plan is run; torch compiles in its first ones.
    """
    side = model.artifact.sidecar.preprocessing.crop
    blank = np.zeros((1, side, side, 3), np.float32)
    for _ in range(_TORCH_WARM_RUNS if model.engine.info.engine == "torchscript" else 1):
        model.engine.run(blank)
