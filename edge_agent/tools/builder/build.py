"""Builds a model: weights in; TorchScript files, plans for the lean engines and their sidecar out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from edge_agent.errors import ArtifactError, EngineError, ModelError
from edge_agent.model.plan_file import decode_plan
from edge_agent.model.sidecar import (
    LONGEST_TEXT,
    Activation,
    Artifact,
    FileRole,
    Sidecar,
    files_sha256,
    open_role,
    read_sidecar,
    role_of,
    write_sidecar,
)
from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.builder.class_names import IMAGENET_CLASSES, imagenet_labels, read_labels
from edge_agent.tools.builder.input_options import AS_FOR_IMAGENET, InputOptions
from edge_agent.tools.builder.lowered import read_network, read_torchscript
from edge_agent.tools.builder.pretrained import WeightsUnavailable
from edge_agent.tools.builder.staging import check_replaceable, staged
from edge_agent.tools.builder.subject import Files, Subject
from edge_agent.tools.builder.weights_kind import kind_of

__all__ = ["DEFAULT_ARCH", "BuildOptions", "WeightsUnavailable", "build"]

DEFAULT_ARCH = "resnet18"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The network, its weights and labels, and where the model goes."""

    output: Path
    """The model directory; an older model there is replaced once the new one is complete."""
    arch: str = ""
    """Empty for what a TorchScript file holds, and for DEFAULT_ARCH with other weights or none."""
    weights: Path | None = None
    """A state dict or a TorchScript file; None for the architecture's own ImageNet weights."""
    labels: Path | None = None
    """See `read_labels`; None for ImageNet's."""
    name: str = ""
    """The model's name in messages; empty for the architecture's name."""
    activation: Activation | None = None
    """How the network's logits become probabilities, as its loss in training says; None for softmax, or what
    the network itself ends with."""
    taken: InputOptions = AS_FOR_IMAGENET
    """How the network takes its pictures."""


def build(
    options: BuildOptions, report: Report, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Artifact:
    """Build the model and return it as written to the disk.

    The answers of what is written are checked before anything is replaced. Raises ModelError when the
    options, weights and labels do not match or an answer is too far off, and WeightsUnavailable when the
    architecture's own weights are not available.
    """
    check_replaceable(options.output)
    subject = _subject(options, report)
    labels = _labels(options, subject)
    report(_introduction(subject))
    if subject.ending:
        report(f"its {subject.ending} at the end is left to the agent, which computes it")
    with staged(options.output) as directory:
        files, not_lowered = subject.write(directory, report)
        sidecar = _sidecar(options, subject, labels, files, not_lowered, now())
        write_sidecar(directory, sidecar)
        _read_back(directory, sidecar)
        _pack(directory, report)
    return read_sidecar(options.output)


def _subject(options: BuildOptions, report: Report) -> Subject:
    weights = options.weights
    if weights is not None and not options.arch and kind_of(weights) == "torchscript":
        return read_torchscript(weights, options.taken, report)
    return read_network(options.arch or DEFAULT_ARCH, weights, options.taken, report)


def _pack(directory: Path, report: Report) -> None:
    """Pack the weights for this machine now, so that the first start is as quick as every other."""
    from edge_agent.inference.native.engine import pack_model

    artifact = read_sidecar(directory)
    if role_of("native", "fp16") not in artifact.sidecar.files:
        return
    try:
        packed = pack_model(artifact, "fp16", directory)
        report(
            f"{packed.name}: {packed.stat().st_size / 1e6:.1f} MB, packed for this machine's native engine"
        )
    except EngineError as error:
        report(f"not packed: {error}")


def _labels(options: BuildOptions, subject: Subject) -> tuple[str, ...]:
    if subject.classes == 1 and _activation(options, subject) == "softmax":
        raise ModelError(
            f"the weights {subject.origin.source} are for one output, whose softmax is 1 for every picture:"
            " train the network with two classes, or build with --activation sigmoid where it was trained"
            " with BCEWithLogitsLoss; the answer is then its label, or unknown"
        )
    if options.labels is not None:
        labels = read_labels(options.labels)
        if len(labels) != subject.classes:
            raise ModelError(
                f"{options.labels}: has {len(labels)} labels, and the weights {subject.origin.source} are for"
                f" {subject.classes} classes; there must be one label a class"
            )
        return labels
    if subject.classes != IMAGENET_CLASSES:
        raise ModelError(
            f"the weights {subject.origin.source} are for {subject.classes} classes, not ImageNet's"
            f" {IMAGENET_CLASSES}; give their labels with --labels FILE, one a line"
        )
    return imagenet_labels()


def _activation(options: BuildOptions, subject: Subject) -> Activation:
    if options.activation and subject.ending and options.activation != subject.ending:
        raise ModelError(
            f"{subject.name} ends with {subject.ending} itself, so --activation {options.activation} would"
            " change its answers: leave it out"
        )
    return options.activation or subject.ending or "softmax"


def _read_back(directory: Path, written: Sidecar) -> None:
    """Read the new model as the daemon will, before it takes the place of an older one.

    Raises ModelError when something in it cannot be read, or is read as something else.
    """
    try:
        artifact = read_sidecar(directory)
        for role in artifact.sidecar.files:
            plan, *_ = open_role(artifact, cast(FileRole, role))
            if role.startswith("xnnpack"):
                decode_plan(plan.read_bytes())
    except ArtifactError as error:
        raise ModelError(f"the new model cannot be read back, and replaces nothing: {error}") from error
    if artifact.sidecar != written:
        raise ModelError("the new model is read back as another one, and replaces nothing")


def _introduction(subject: Subject) -> str:
    return (
        f"{subject.name}: {subject.parameters / 1e6:.1f} million weights ({subject.origin.source}),"
        f" {subject.classes} classes"
    )


def _sidecar(
    options: BuildOptions,
    subject: Subject,
    labels: tuple[str, ...],
    files: Files,
    not_lowered: str,
    created: datetime,
) -> Sidecar:
    return Sidecar(
        name=printable(options.name, LONGEST_TEXT) or subject.name,
        arch=subject.arch,
        created=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        torch_version=subject.torch_version,
        weights=subject.origin,
        preprocessing=subject.preprocessing,
        labels=labels,
        files=files,
        not_lowered=printable(not_lowered, LONGEST_TEXT),
        activation=_activation(options, subject),
        sha256=files_sha256(files),
    )
