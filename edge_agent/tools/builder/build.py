"""Builds a model: weights in; TorchScript files, plans for the lean engine and their sidecar out."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge_agent.errors import ArtifactError, EngineError, ModelError
from edge_agent.model.plan import Precision
from edge_agent.model.plan_file import decode_plan
from edge_agent.model.sidecar import (
    LONGEST_TEXT,
    Activation,
    Artifact,
    ArtifactFile,
    FileRole,
    Sidecar,
    describe_file,
    files_sha256,
    open_role,
    read_sidecar,
    role_of,
    write_sidecar,
)
from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.builder import script
from edge_agent.tools.builder.class_names import IMAGENET_CLASSES, imagenet_labels, read_labels
from edge_agent.tools.builder.eager import Network, load_network
from edge_agent.tools.builder.half_weights import store_weights_as_half
from edge_agent.tools.builder.input_options import AS_FOR_IMAGENET, InputOptions
from edge_agent.tools.builder.lowering.lower import LoweringError, lower
from edge_agent.tools.builder.pretrained import WeightsUnavailable
from edge_agent.tools.builder.staging import check_replaceable, staged

if TYPE_CHECKING:
    import torch

__all__ = ["BuildOptions", "WeightsUnavailable", "build"]

_PROBES = 2
# How far a logit may be from the eager network's, relative to the largest logit. FP32 differs by the order of
# its sums; FP16 weights are rounded to 11 bits: every torchvision classifier stays below a tenth of these.
_LOGIT_TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2}

Files = dict[str, tuple[ArtifactFile, ...]]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The network, its weights and labels, and where the model goes."""

    output: Path
    """The model directory; an older model there is replaced once the new one is complete."""
    arch: str = "resnet18"
    weights: Path | None = None
    """A state dict file; None for the architecture's own ImageNet weights."""
    labels: Path | None = None
    """See `read_labels`; None for ImageNet's."""
    name: str = ""
    """The model's name in messages; empty for the architecture's name."""
    activation: Activation = "softmax"
    """How the network's logits become probabilities, as its loss in training says."""
    taken: InputOptions = AS_FOR_IMAGENET
    """How the network takes its pictures."""


def build(
    options: BuildOptions, report: Report, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Artifact:
    """Build the model and return it as written to the disk.

    Every file's answers are compared with the eager network's before anything is replaced. Raises ModelError
    when the options, weights and labels do not match or an answer is too far off, and
    WeightsUnavailable when the architecture's own weights are not available.
    """
    check_replaceable(options.output)
    network = load_network(options.arch, options.weights, report, options.taken)
    labels = _labels(options, network)
    report(_introduction(network))
    with staged(options.output) as directory:
        files, not_lowered = _write_files(network, len(labels), directory, report)
        sidecar = _sidecar(options, network, labels, files, not_lowered, now())
        write_sidecar(directory, sidecar)
        _read_back(directory, sidecar)
        _pack(directory, report)
    return read_sidecar(options.output)


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


def _labels(options: BuildOptions, network: Network) -> tuple[str, ...]:
    if network.classes == 1 and options.activation == "softmax":
        raise ModelError(
            f"the weights {network.origin.source} are for one output, whose softmax is 1 for every picture:"
            " train the network with two classes, or build with --activation sigmoid where it was trained"
            " with BCEWithLogitsLoss; the answer is then its label, or unknown"
        )
    if options.labels is not None:
        labels = read_labels(options.labels)
        if len(labels) != network.classes:
            raise ModelError(
                f"{options.labels}: has {len(labels)} labels, and the weights {network.origin.source} are for"
                f" {network.classes} classes; there must be one label a class"
            )
        return labels
    if network.classes != IMAGENET_CLASSES:
        raise ModelError(
            f"the weights {network.origin.source} are for {network.classes} classes, not ImageNet's"
            f" {IMAGENET_CLASSES}; give their labels with --labels FILE, one a line"
        )
    return imagenet_labels()


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


def _introduction(network: Network) -> str:
    parameters = sum(parameter.numel() for parameter in network.module.parameters())
    return (
        f"{network.architecture.name}: {parameters / 1e6:.1f} million weights ({network.origin.source}),"
        f" {network.classes} classes"
    )


def _write_files(network: Network, labels: int, directory: Path, report: Report) -> tuple[Files, str]:
    expected = _eager_answers(network, labels)
    frozen = script.freeze(network.module, network.shape)
    files: Files = {}
    files["torchscript-fp32"] = (_write(frozen, "fp32", directory, network, expected, report),)
    try:
        files |= lower(frozen, input_shape=network.shape, directory=directory, precisions=("fp16", "fp32"))
        report("lowered for the native and the xnnpack engine")
        not_lowered = ""
    except LoweringError as error:
        not_lowered = str(error)
        report(f"the model stays on the torchscript engine, because it cannot be lowered: {error}")
    store_weights_as_half(frozen)  # in place, therefore last
    files["torchscript-fp16"] = (_write(frozen, "fp16", directory, network, expected, report),)
    return files, not_lowered


def _eager_answers(network: Network, labels: int) -> list[torch.Tensor]:
    import torch

    try:
        with torch.inference_mode():
            answers = [network.module(script.probe(network.shape, seed)) for seed in range(_PROBES)]
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = printable(str(error), 300)
        raise ModelError(
            f"{network.architecture.name} cannot run on {network.shape[1]} x {network.shape[2]} pixels with"
            f" these weights: {reason}"
        ) from error
    for answer in answers:
        if not isinstance(answer, torch.Tensor) or answer.shape != (1, labels):
            shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
            raise ModelError(f"{network.architecture.name} answers {shape}, expected (1, {labels}) logits")
    return answers


def _write(
    module: torch.jit.ScriptModule,
    precision: Precision,
    directory: Path,
    network: Network,
    expected: list[torch.Tensor],
    report: Report,
) -> ArtifactFile:
    path = directory / f"torchscript-{precision}.pt"
    script.save(module, path)
    error = _largest_error(script.load(path), network, expected)
    scale = max(float(answer.abs().max()) for answer in expected)
    if not error <= _LOGIT_TOLERANCE[precision] * scale:  # a NaN must not pass
        raise ModelError(
            f"{network.architecture.name} in {precision} differs from eager FP32 by {error:.3g} where the"
            f" largest logit is {scale:.3g}: the weights lose too much in this precision"
        )
    gc.collect()  # the module that was read back, before the next one is made
    written = describe_file(path)
    report(f"{path.name}: {written.bytes / 1e6:.1f} MB, largest logit error {error:.1e} (of {scale:.3g})")
    return written


def _largest_error(module: torch.jit.ScriptModule, network: Network, expected: list[torch.Tensor]) -> float:
    import torch

    with torch.inference_mode():
        answers = (module(script.probe(network.shape, seed)) for seed in range(len(expected)))
        return max(float((a - e).abs().max()) for a, e in zip(answers, expected, strict=True))


def _sidecar(
    options: BuildOptions,
    network: Network,
    labels: tuple[str, ...],
    files: Files,
    not_lowered: str,
    created: datetime,
) -> Sidecar:
    import torch

    return Sidecar(
        name=printable(options.name, LONGEST_TEXT) or network.architecture.name,
        arch=network.architecture.name,
        created=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        torch_version=str(torch.__version__),
        weights=network.origin,
        preprocessing=network.preprocessing,
        labels=labels,
        files=files,
        not_lowered=printable(not_lowered, LONGEST_TEXT),
        activation=options.activation,
        sha256=files_sha256(files),
    )
