"""Measures one scene with one network: every head, number of examples and draw."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.teaching.draws import draw
from benchmarks.teaching.features import Network, SceneFeatures, look
from benchmarks.teaching.heads import HEADS, Judge
from benchmarks.teaching.judging import marks
from benchmarks.teaching.results import (
    DENSE,
    EACH_FRAME,
    OF_EACH,
    OURS,
    REGION,
    WHOLE,
    Day,
    Estimated,
    Judged,
)
from benchmarks.teaching.sample import Size
from benchmarks.teaching.scenes import SCENES
from benchmarks.teaching.watching import Voter, by_head, by_verdicts, watch
from edge_agent.teach.examples import Example
from edge_agent.teach.fitting import fit
from edge_agent.teach.report import report

ON_WHOLE = (OURS, DENSE)
"""The heads that are also taught with whole pictures."""


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
    return judge_all(network.name, seen, task.examples, task.draws)


def judge_all(network: str, seen: SceneFeatures, numbers: Sequence[int], draws: int) -> SceneResults:
    """Teach and judge every head, with so many examples of each label, by so many owners."""
    judged: list[Judged] = []
    estimated: list[Estimated] = []
    days: list[Day] = []
    for of_each, number in itertools.product(numbers, range(draws)):
        case = _Case(network, seen, REGION, of_each, number, draw(seen, of_each, number))
        whole = _Case(network, seen, WHOLE, of_each, number, draw(seen, of_each, number, whole=True))
        judges = {head: case.taught(head) for head in HEADS}
        rows = {head: case.judged(head, *judges[head]) for head in HEADS}
        judged += [*rows.values(), *(whole.judged(head, *whole.taught(head)) for head in ON_WHOLE)]
        estimated += case.estimated(rows[OURS].marks.accuracy)
        if of_each == OF_EACH:
            days += [
                Day(network, seen.scene, head, number, watch(seen, vote))
                for head, vote in case.voters({head: judges[head][0] for head in (OURS, DENSE)})
            ]
    return SceneResults(network, seen, tuple(judged), tuple(estimated), tuple(days))


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """What one owner has shown."""

    network: str
    seen: SceneFeatures
    view: str
    of_each: int
    number: int
    examples: Sequence[Example]

    def taught(self, head: str) -> tuple[Judge, float]:
        """The head, and the seconds that it took to fit it."""
        started_s = time.perf_counter()
        judge = HEADS[head](self.examples, self.seen.backbone)
        return judge, time.perf_counter() - started_s

    def voters(self, judges: Mapping[str, Judge]) -> Iterator[tuple[str, Voter]]:
        """What votes on the watched days: our head with hysteresis and without, and the Dense layer."""
        features = self.seen.watched.region
        yield OURS, by_head(fit(self.examples, self.seen.backbone).head, features)
        yield EACH_FRAME, by_verdicts(judges[OURS](features))
        yield DENSE, by_verdicts(judges[DENSE](features))

    def judged(self, head: str, judge: Judge, seconds: float) -> Judged:
        seen = self.seen
        known, strange = (
            judge(part.region if self.view == REGION else part.whole)
            for part in (seen.judged, seen.strangers)
        )
        found = marks(known, seen.judged.states, strange)
        return Judged(self.network, seen.scene, self.view, head, self.of_each, self.number, found, seconds)

    def estimated(self, truth: float) -> Iterator[Estimated]:
        """What the report says, where it says anything."""
        said = report(self.examples, fit(self.examples, self.seen.backbone))
        if said.accuracy is not None and said.low is not None and said.high is not None:
            yield Estimated(
                self.network,
                self.seen.scene,
                self.of_each,
                self.number,
                said.accuracy,
                said.low,
                said.high,
                truth,
            )
