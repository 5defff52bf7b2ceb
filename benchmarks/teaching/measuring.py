"""Measures one scene with one network: every head, number of examples and draw."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.teaching.draws import draw
from benchmarks.teaching.features import Network, SceneFeatures, look
from benchmarks.teaching.heads import HEADS, Judge, of_head
from benchmarks.teaching.judging import marks
from benchmarks.teaching.results import DENSE, OF_EACH, OURS, REGION, WHOLE, Day, Estimated, Judged
from benchmarks.teaching.sample import Size
from benchmarks.teaching.scenes import SCENES
from benchmarks.teaching.watching import watch
from edge_agent.teach.examples import Example
from edge_agent.teach.fitting import fit
from edge_agent.teach.report import report

ON_WHOLE = (OURS, DENSE)
"""The heads that are also taught with whole pictures."""
WATCHED = (OURS, DENSE)
"""The heads whose events are counted."""


@dataclass(frozen=True, slots=True)
class Task:
    """A scene and a network, for a process of its own."""

    model: Path
    work: Path
    scene: str
    size: Size
    examples: tuple[int, ...]
    draws: int


@dataclass(frozen=True, slots=True, eq=False)
class SceneResults:
    """What was found in one scene."""

    network: str
    seen: SceneFeatures
    judged: tuple[Judged, ...]
    estimated: tuple[Estimated, ...]
    days: tuple[Day, ...]


def measure(task: Task) -> SceneResults:
    """Render, look, teach and judge: a minute or more. Raises ArtifactError and EngineError."""
    (scene,) = (scene for scene in SCENES if scene.name == task.scene)
    network = Network(task.model, task.work)
    try:
        seen = look(scene, network, task.size)
    finally:
        network.close()
    judged: list[Judged] = []
    estimated: list[Estimated] = []
    days: list[Day] = []
    for of_each in task.examples:
        for number in range(task.draws):
            examples = draw(seen, of_each, number)
            for head in HEADS:
                row, judge = _judged(network.name, seen, REGION, head, of_each, number, examples)
                judged.append(row)
                if of_each == OF_EACH and head in WATCHED:
                    days.append(
                        Day(network.name, scene.name, head, number, watch(seen, judge(seen.watched.region)))
                    )
            estimated += _estimates(network.name, seen, of_each, number, examples)
            on_whole = draw(seen, of_each, number, whole=True)
            for head in ON_WHOLE:
                judged.append(_judged(network.name, seen, WHOLE, head, of_each, number, on_whole)[0])
    return SceneResults(network.name, seen, tuple(judged), tuple(estimated), tuple(days))


def _judged(
    network: str,
    seen: SceneFeatures,
    view: str,
    head: str,
    of_each: int,
    number: int,
    examples: Sequence[Example],
) -> tuple[Judged, Judge]:
    started_s = time.perf_counter()
    judge = HEADS[head](examples, seen.backbone)
    seconds = time.perf_counter() - started_s
    known, strange = (
        judge(part.region if view == REGION else part.whole) for part in (seen.judged, seen.strangers)
    )
    found = marks(known, seen.judged.states, strange)
    return Judged(network, seen.scene, view, head, of_each, number, found, seconds), judge


def _estimates(
    network: str, seen: SceneFeatures, of_each: int, number: int, examples: Sequence[Example]
) -> Iterator[Estimated]:
    """What the report says, where it says anything."""
    made = fit(examples, seen.backbone)
    said = report(examples, made)
    if said.accuracy is None or said.low is None or said.high is None:
        return
    known = of_head(made.head)(seen.judged.region)
    right = sum(one == other for one, other in zip(known.best, seen.judged.states, strict=True))
    truth = right / len(known.best)
    yield Estimated(network, seen.scene, of_each, number, said.accuracy, said.low, said.high, truth)
