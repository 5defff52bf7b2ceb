"""The whole of it: a set in, a model out, and how good it is on pictures that it has never seen."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from edge_agent.errors import ModelError, TeachError
from edge_agent.memory.procfs import read_memory
from edge_agent.memory.trim import SystemLibc, tune_allocator
from edge_agent.model.sidecar import Preprocessing, write_sidecar
from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.builder.staging import check_replaceable
from edge_agent.tools.train.budget import Guard, Kind, choose
from edge_agent.tools.train.building import build_model, give_back, write_weights
from edge_agent.tools.train.bursts import Split, bursts_of, split
from edge_agent.tools.train.chart import training_svg
from edge_agent.tools.train.dataset import Item, labels_of, read_dataset
from edge_agent.tools.train.judge import (
    Judgement,
    Logits,
    Reliability,
    Threshold,
    cost_of,
    judge,
    reliability_of,
    temperature_of,
    threshold_of,
    worst,
)
from edge_agent.tools.train.kept import settle
from edge_agent.tools.train.loop import Progress, Recipe, Sets, Training, answers, seen_of
from edge_agent.tools.train.network import Trainee, make_trainee
from edge_agent.tools.train.pictures import Pictures, store
from edge_agent.tools.train.probe import Probe, Way, probe, probe_building
from edge_agent.tools.train.recompute import Checkpoint, parts_of
from edge_agent.tools.train.report import (
    MOST_MISTAKES,
    Findings,
    Mistake,
    facts_of,
    verdict,
    write_report,
)
from edge_agent.tools.train.taught import Comparison, compare
from edge_agent.tools.train.workers import ALONE, Workers

_SETTLED_ON = 256
"""Pictures, about."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be trained, on what, and where the model goes."""

    data: Path
    output: Path
    recipe: Recipe
    size: int | None
    """Side of the square that the network takes; None for its own."""
    gap_s: float
    longest_s: float
    budget_mb: float | None = None
    """Most resident memory; None for no limit."""


@dataclass(frozen=True, slots=True)
class Result:
    """A trained network's figures; its model is on the disk, and the report beside it."""

    judgement: Judgement
    temperature: float
    threshold: Threshold
    before: Reliability
    """Without the temperature."""
    after: Reliability
    comparison: Comparison | None
    """With the head that teaching would have made."""
    verdict: str
    """Whether it was worth it, in words."""
    report: str
    """The file of the report."""


@dataclass(frozen=True, slots=True)
class _Material:
    items: tuple[Item, ...]
    labels: tuple[str, ...]
    bursts: tuple[str, ...]
    parts: Split

    def sets(self, pictures: Pictures) -> Sets:
        """The pictures, stored in the order of the items, with their labels and what each is for."""
        truth = np.array([self.labels.index(item.label) for item in self.items], np.intp)
        return Sets(pictures, truth, self.parts.learn, self.parts.tune)

    def identity(self, wanted: Wanted) -> str:
        """Of everything that the weights follow from, but for how a step's work is divided.

        That may differ each time it goes on: on a machine with less memory, or with more workers.
        """
        files = [(item.name, item.label, item.path.stat().st_size) for item in self.items]
        whole = repr(
            (files, self.bursts, asdict(replace(wanted.recipe, accumulate=1, checkpoint="none")), wanted.size)
        )
        return hashlib.sha256(whole.encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class _Trained:
    """What is known of a network that has been trained, without the network."""

    progress: Progress
    taken: Preprocessing
    start: str
    """Where its first weights came from."""
    tuned: Logits
    """Its answers on the pictures to tune on."""
    said: Logits
    """And on those to judge by."""
    weights: Path


def train(
    wanted: Wanted,
    report: Report,
    is_stopped: Callable[[], bool] = lambda: False,
    show: Callable[[str], None] = lambda _: None,
    workers: Workers = ALONE,
) -> Result | None:
    """Train, judge, and build the model. The folder beside it has the state until it ends.

    `show` is given a line about how far it is after each step. Of several workers all train, and the writer
    does the rest; the others get None.

    Raises ModelError for a set or a recipe that cannot be trained, and InterruptedTrainingError, after the
    running step, when `is_stopped` says so.
    """
    check_replaceable(wanted.output)
    if wanted.budget_mb is not None:
        # What is freed goes back at once: of what is allocated before this, the heap would keep some.
        tune_allocator(SystemLibc(), "native")
    material = _material(wanted)
    trainee = _trainee(wanted, material.labels, report)
    folder = wanted.output.resolve().with_name(f"{wanted.output.resolve().name}.training")
    folder.mkdir(parents=True, exist_ok=True)
    identity = material.identity(wanted)
    workers.agree(identity)
    pictures = _stored(material, trainee, folder / f"pictures-{identity[:16]}", workers)
    try:
        sets, guard = material.sets(pictures), None
        if wanted.budget_mb is not None:
            wanted, guard = _within(wanted, wanted.budget_mb, trainee, workers, report)
        _settle(trainee, sets, wanted.recipe)
        training = Training(trainee, wanted.recipe, sets, folder, identity, report, is_stopped, show, workers)
        if guard:
            training.most = guard.most
        trained = _run(training, material.parts.judge)
        if trained is None:
            return None
        del training, trainee  # what follows makes networks of its own, one after the other
        give_back()
        findings = _found(wanted, material, sets, trained)
    finally:
        pictures.close()
    give_back()
    artifact = build_model(
        wanted.output, wanted.recipe.arch, trained.weights, material.labels, trained.taken, report
    )
    write_sidecar(artifact.directory, replace(artifact.sidecar, temperature=findings.temperature))
    where = write_report(findings, artifact.directory)
    shutil.rmtree(folder)
    said = verdict(findings.judgement, findings.comparison, findings.no_comparison)
    return Result(
        findings.judgement,
        findings.temperature,
        findings.threshold,
        findings.before,
        findings.after,
        findings.comparison,
        said,
        str(where),
    )


def _within(
    wanted: Wanted, budget_mb: float, trainee: Trainee, workers: Workers, report: Report
) -> tuple[Wanted, Guard]:
    """What is wanted, by a plan within the budget, and who holds it. Raises ModelError where none does."""
    recipe = wanted.recipe
    if workers.count > 1:
        raise ModelError("--memory-budget: for one worker; give several --accumulate and --checkpoint")
    side, labels = trainee.preprocessing.crop, trainee.last.out_features

    def measure(kinds: Sequence[Kind]) -> Sequence[Probe]:
        shown = (f"{pictures} at once with --checkpoint {mode}" for mode, pictures in kinds)
        report(f"measures steps of pictures, {', '.join(shown)}")
        fixed = (recipe.precision, recipe.arch, side, labels, recipe.scope, recipe.average)
        return probe([Way(mode, pictures, *fixed) for mode, pictures in kinds])

    report("measures what building the model takes")
    now = read_memory()
    later_mb = now.rss_mb + probe_building(Way("none", 1, "fp32", recipe.arch, side, labels))
    now = replace(now, peak_mb=max(now.peak_mb, later_mb))
    chosen = choose(budget_mb, recipe, _modes(trainee, recipe), now, measure)
    report(chosen.text(budget_mb, recipe.batch))
    plan = chosen.plan
    planned = replace(recipe, accumulate=plan.accumulate, checkpoint=plan.checkpoint)
    return replace(wanted, recipe=planned), Guard(budget_mb, planned.at_once)


def _modes(trainee: Trainee, recipe: Recipe) -> tuple[Checkpoint, ...]:
    """The ways to compute again that there are, the quickest first."""
    if recipe.scope != "all" or recipe.checkpoint != "none":
        return (recipe.checkpoint,)
    try:
        parts_of(trainee.module, "blocks")
    except ModelError:
        return ("none",)
    return ("none", "blocks")


def _stored(material: _Material, trainee: Trainee, path: Path, workers: Workers) -> Pictures:
    """The pictures in a file, which one worker of each machine writes while the others wait."""
    if workers.local_rank == 0:
        store(material.items, trainee.preprocessing, path).close()
    workers.agree("stored")
    return store(material.items, trainee.preprocessing, path)


def _material(wanted: Wanted) -> _Material:
    items = read_dataset(wanted.data)
    labels, bursts = labels_of(items), bursts_of(items, wanted.gap_s, wanted.longest_s)
    if len(labels) < 2:
        raise ModelError(f"{printable(wanted.data)}: one label, and a network tells at least two apart")
    return _Material(items, labels, bursts, split(items, bursts, wanted.recipe.seed))


def _trainee(wanted: Wanted, labels: tuple[str, ...], report: Report) -> Trainee:
    recipe = wanted.recipe
    torch.manual_seed(recipe.seed)
    return make_trainee(recipe.arch, recipe.start, wanted.size, labels, report)


def _settle(trainee: Trainee, sets: Sets, recipe: Recipe) -> None:
    """Fit the batch norm of a model that is trained further to pictures of the set."""
    if trainee.norms:
        places = sets.learn[:: max(1, len(sets.learn) // _SETTLED_ON)]
        starts = range(0, len(places), recipe.at_once)
        chunks = (places[start : start + recipe.at_once] for start in starts)
        settle(trainee.module, trainee.norms, (seen_of(trainee, sets.pictures, each) for each in chunks))


def _run(training: Training, judged: Sequence[int]) -> _Trained | None:
    """Train, and let the network answer; None for workers that do not write."""
    progress = training.run()
    if not training.workers.is_writer:
        return None
    trainee, pictures, batch = training.trainee, training.sets.pictures, training.recipe.at_once
    tuned, said = (answers(trainee, pictures, places, batch) for places in (training.sets.tune, judged))
    weights = training.folder / "trained.pth"
    write_weights(trainee.module, weights)
    return _Trained(progress, trainee.preprocessing, trainee.start, tuned, said, weights)


def _found(wanted: Wanted, material: _Material, sets: Sets, trained: _Trained) -> Findings:
    """Judge the trained network by what it said of pictures that it has never seen."""
    places, progress, tuned, said = material.parts.judge, trained.progress, trained.tuned, trained.said
    tune, truth = (sets.truth[list(each)] for each in (sets.tune, places))
    temperature = temperature_of(tuned, tune)
    judged = judge(said, truth, [material.bursts[place] for place in places], material.labels)
    comparison, why_not = _compared(wanted, material, sets, said)
    mistakes = [
        Mistake(
            material.items[places[row]].name,
            material.items[places[row]].label,
            material.labels[answer],
            probability,
            sets.pictures.read(places[row]),
        )
        for row, answer, probability in worst(said, truth, temperature, MOST_MISTAKES)
    ]
    return Findings(
        f"{wanted.recipe.arch} trained on {wanted.data.resolve().name}",
        facts_of(wanted.recipe, trained.taken, trained.start, sets, len(places), progress),
        judged,
        temperature,
        reliability_of(said, truth, 1.0),
        reliability_of(said, truth, temperature),
        cost_of(said, truth, temperature, threshold_of(tuned, tune, temperature)),
        comparison,
        why_not,
        training_svg(progress.epoch_losses(), progress.tuned, progress.best_epoch),
        mistakes,
        int((said.argmax(axis=1) != truth).sum()),
    )


def _compared(wanted: Wanted, material: _Material, sets: Sets, said: Logits) -> tuple[Comparison | None, str]:
    """The taught head beside it, and why there is none."""
    recipe = wanted.recipe
    if recipe.start == "none":
        return None, "the network began with random weights, whose features no head is taught on"
    start = _trainee(wanted, material.labels, lambda _: None)
    try:
        found = compare(
            start, sets, material.parts.judge, material.bursts, material.labels, said, recipe.at_once
        )
    except TeachError as error:
        return None, f"no head can be taught on this network: {error}"
    return found, ""
