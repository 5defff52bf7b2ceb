"""Compares a built model's answers with those of its network in plain FP32, on real pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import EngineError, ModelError, SourceError
from edge_agent.inference import Engine, EngineInfo
from edge_agent.inference.choice import arithmetics, load_engine
from edge_agent.inference.classifier import probabilities
from edge_agent.inference.host import read_host
from edge_agent.inference.preprocess import Preprocessor
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import Activation, Artifact, EngineName, open_role, role_of
from edge_agent.sources.picture import read_picture
from edge_agent.sources.picture_files import pictures_in
from edge_agent.tools import Report
from edge_agent.tools.builder.answers import read_plan
from edge_agent.tools.builder.input_options import InputOptions
from edge_agent.tools.builder.pretrained import WeightsUnavailable
from edge_agent.tools.builder.reference import evaluate
from edge_agent.tools.builder.subject import TORCHSCRIPT

if TYPE_CHECKING:
    from edge_agent.tools.builder.eager import Network

Logits = NDArray[np.float32]
_TOP = 3


@dataclass(frozen=True, slots=True)
class LogitAgreement:
    """How close one engine's answers, in one precision, are to the reference's."""

    info: EngineInfo
    pictures: int
    top1_agreement: float
    """Share of the pictures, 0 to 1, with the same best label."""
    top3_overlap: float
    """Mean share, 0 to 1, of the reference's three best labels that are among the engine's three."""
    max_logit_error: float
    max_probability_error: float
    """The largest error of any label's probability."""


@dataclass(frozen=True, slots=True)
class NotRun:
    """An engine that could not be loaded here, and why."""

    engine: EngineName
    precision: Precision
    reason: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of `verify`."""

    model: str
    sha256: str
    reference: str
    pictures: int
    agreements: tuple[LogitAgreement, ...]
    not_run: tuple[NotRun, ...]
    pictures_skipped: int = 0
    """How many more could not be read."""

    def worst_agreement(self) -> float:
        """The smallest top-1 agreement, 0 to 1."""
        return min(agreement.top1_agreement for agreement in self.agreements)


def verify(
    artifact: Artifact,
    images: Path,
    report: Report,
    *,
    weights: Path | None = None,
    threads: int = 1,
) -> VerifyReport:
    """Run each picture of the folder `images` through the reference and every engine that runs here.

    All of them see the same input tensors, so that the differences are the engines'. The reference is torch's
    eager network where torch is, made from `weights` or the architecture's own, which must be the ones that
    the model was built from; else the FP32 plan, computed by plain numpy. A picture that cannot be read is
    reported, counted and left out. Raises ModelError when the weights are others, there are no pictures, or
    no engine runs; SourceError when no picture can be read; ArtifactError for a damaged file.
    """
    pictures = _pictures(images)
    reference = _reference(artifact, weights, report)
    with _engines(artifact, threads) as (engines, not_run):
        for missing in not_run:
            report(f"{missing.engine} {missing.precision}: not run: {missing.reason}")
        if not engines:
            raise ModelError(f"{artifact.directory}: none of the model's engines runs here")
        comparisons = [_Comparison(engine, artifact.sidecar.activation) for engine in engines]
        read = 0
        for tensor in _tensors(artifact, pictures, report):
            read += 1
            expected = reference.logits(tensor)
            for comparison in comparisons:
                comparison.add(tensor, expected)
        agreements = tuple(comparison.result() for comparison in comparisons)
    return VerifyReport(
        model=artifact.sidecar.name,
        sha256=artifact.sidecar.sha256,
        reference=reference.name,
        pictures=read,
        agreements=agreements,
        not_run=not_run,
        pictures_skipped=len(pictures) - read,
    )


class _Comparison:
    """Adds up the differences between an engine and the reference."""

    def __init__(self, engine: Engine, activation: Activation) -> None:
        self._engine = engine
        self._activation = activation
        self._pictures = 0
        self._same_best = 0
        self._overlap = 0.0
        self._logit_error = 0.0
        self._probability_error = 0.0

    def add(self, tensor: NDArray[np.float32], expected: Logits) -> None:
        found = self._engine.run(tensor)
        if found.shape != expected.shape:
            raise ModelError(
                f"{self._engine.info.engine} answers {found.size} logits, the reference {expected.size}"
            )
        best_found, best_expected = best_labels(found), best_labels(expected)
        self._pictures += 1
        self._same_best += int(best_found[0] == best_expected[0])
        self._overlap += len(set(best_found) & set(best_expected)) / len(best_expected)
        self._logit_error = max(self._logit_error, float(np.abs(found - expected).max()))
        ours, theirs = (probabilities(logits, self._activation) for logits in (found, expected))
        difference = np.abs(ours - theirs)
        self._probability_error = max(self._probability_error, float(difference.max()))

    def result(self) -> LogitAgreement:
        return LogitAgreement(
            info=self._engine.info,
            pictures=self._pictures,
            top1_agreement=self._same_best / self._pictures,
            top3_overlap=self._overlap / self._pictures,
            max_logit_error=self._logit_error,
            max_probability_error=self._probability_error,
        )


def best_labels(logits: Logits) -> NDArray[np.intp]:
    """The best labels, best first; of one label, whether it is more likely than not."""
    if logits.size == 1:
        return np.array([int(logits[0] > 0)], np.intp)
    return np.argsort(-logits)[:_TOP]


def _pictures(images: Path) -> list[Path]:
    if not images.is_dir():
        raise ModelError(f"{images}: not a folder")
    if not (found := pictures_in(images)):
        raise ModelError(f"{images}: has no pictures (JPEG, PNG, WebP or BMP)")
    return found


class _Reference(Protocol):
    """What the engines are held against."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    def logits(self, tensor: NDArray[np.float32]) -> Logits:
        """The logits of a picture, of shape (1, height, width, 3)."""


class _Eager:
    """Torch's eager network in FP32."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.name = f"eager FP32 {network.architecture.name}, {network.origin.source}"

    def logits(self, tensor: NDArray[np.float32]) -> Logits:
        import torch

        with torch.inference_mode():
            answer = self._network.module(torch.from_numpy(tensor).permute(0, 3, 1, 2))
        logits: Logits = answer[0].numpy()
        return logits


class _Plain:
    """The FP32 plan, computed by numpy in double precision."""

    def __init__(self, artifact: Artifact) -> None:
        self._plan, self._weights = read_plan(open_role(artifact, role_of("native", "fp32")))
        self.name = f"the FP32 plan by plain numpy, {artifact.sidecar.weights.source}"

    def logits(self, tensor: NDArray[np.float32]) -> Logits:
        return evaluate(self._plan, self._weights, tensor).output.astype(np.float32)


def _reference(artifact: Artifact, weights: Path | None, report: Report) -> _Reference:
    has_plan = role_of("native", "fp32") in artifact.sidecar.files
    if has_plan and (artifact.sidecar.arch == TORCHSCRIPT or find_spec("torch") is None):
        return _Plain(artifact)
    try:
        return _eager(artifact, weights, report)
    except WeightsUnavailable as error:
        if not has_plan:
            raise
        report(f"compared with the plan by plain numpy: {error}")
        return _Plain(artifact)


def _eager(artifact: Artifact, weights: Path | None, report: Report) -> _Eager:
    from edge_agent.tools.builder.eager import load_network

    built_from = artifact.sidecar.weights
    taken = InputOptions.from_preprocessing(artifact.sidecar.preprocessing)
    network = load_network(artifact.sidecar.arch, weights, report, taken)
    if network.origin.sha256 != built_from.sha256:
        raise ModelError(
            f"{network.origin.source}: not the weights that the model was built from, which were"
            f" {built_from.source} (sha256 {built_from.sha256}); name those with --weights FILE"
        )
    return _Eager(network)


@contextmanager
def _engines(artifact: Artifact, threads: int) -> Iterator[tuple[list[Engine], tuple[NotRun, ...]]]:
    engines: list[Engine] = []
    not_run: list[NotRun] = []
    host = read_host()
    try:
        for engine in get_args(EngineName):
            for precision in get_args(Precision):
                if role_of(engine, precision) not in artifact.sidecar.files:
                    not_run.append(NotRun(engine, precision, _missing_reason(artifact)))
                    continue
                try:
                    for arithmetic in arithmetics(engine, precision, host):
                        engines.append(
                            load_engine(artifact, engine, precision, threads=threads, arithmetic=arithmetic)
                        )
                except EngineError as error:
                    not_run.append(NotRun(engine, precision, str(error)))
        yield engines, tuple(not_run)
    finally:
        for loaded in engines:
            loaded.close()


def _missing_reason(artifact: Artifact) -> str:
    return artifact.sidecar.not_lowered or "the model has no files for it"


def _tensors(artifact: Artifact, pictures: Sequence[Path], report: Report) -> Iterator[NDArray[np.float32]]:
    """The pictures as the network sees them. Raises SourceError when not one of them can be read."""
    preprocess = Preprocessor(artifact.sidecar.preprocessing)
    skipped: list[SourceError] = []
    for picture in pictures:
        try:
            pixels = read_picture(picture)
        except SourceError as error:
            skipped.append(error)
            report(f"skipped: {error}")
            continue
        yield preprocess(pixels)
    if len(skipped) == len(pictures):
        raise SourceError(f"none of the {len(pictures)} pictures can be read; the last one: {skipped[-1]}")
