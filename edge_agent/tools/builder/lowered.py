"""Reads a network with its trained weights, without torch wherever that can be, and writes its files so."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from edge_agent.errors import ModelError
from edge_agent.model.plan import Precision, Shape
from edge_agent.model.sidecar import Preprocessing, WeightsOrigin, describe_file, role_of
from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.builder.answers import check_answers
from edge_agent.tools.builder.archive.contents import Archive
from edge_agent.tools.builder.archive.script_file import open_archive
from edge_agent.tools.builder.archive_writer.write import write_archive
from edge_agent.tools.builder.input_options import InputOptions
from edge_agent.tools.builder.lowering.colour import take_colour
from edge_agent.tools.builder.lowering.lower import Lowered, LoweringError
from edge_agent.tools.builder.pretrained import default_cache, given, obtain
from edge_agent.tools.builder.skeletons.find import find_skeleton, pretrained_of, unknown_architecture
from edge_agent.tools.builder.skeletons.fit import fit
from edge_agent.tools.builder.subject import TORCHSCRIPT, Ending, Files, Subject
from edge_agent.tools.builder.symbolic.translate import translate_archive

_IMAGENET = Preprocessing(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_OLDEST_TORCH = "1.6"
"""What `write_archive` writes for."""
_LONGEST_NAME = 60
_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")


@dataclass(frozen=True, slots=True)
class LoweredSubject:
    """A network whose operations are those of a plan: all its files are written without torch."""

    name: str
    arch: str
    lowered: Lowered
    origin: WeightsOrigin
    preprocessing: Preprocessing
    ending: Ending

    @property
    def classes(self) -> int:
        return self.lowered.classes

    @property
    def parameters(self) -> int:
        return self.lowered.parameters

    @property
    def torch_version(self) -> str:
        return _OLDEST_TORCH

    def write(self, directory: Path, report: Report) -> tuple[Files, str]:
        """See `Subject.write`."""
        try:
            files: Files = {**self.lowered.write(directory)}
        except LoweringError as error:
            raise ModelError(f"{self.name}: {error}") from error
        exact, rounded = (
            [directory / file.name for file in files[role_of("native", each)]] for each in _PRECISIONS
        )
        largest_error, scale = check_answers(self.name, exact, rounded)
        report(
            f"lowered for the native and the xnnpack engine, largest logit error {largest_error:.1e}"
            f" (of {scale:.3g})"
        )
        plan = self.lowered.plan()
        for precision in _PRECISIONS:
            path = directory / f"torchscript-{precision}.pt"
            write_archive(path, plan, self.lowered.builder.constants, precision)
            files[f"torchscript-{precision}"] = (describe_file(path),)
            report(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
        return files, ""


def read_network(arch: str, weights: Path | None, taken: InputOptions, report: Report) -> Subject:
    """Return the network of that architecture with the weights of a file, or with its own.

    Torch is needed only for what no plan can run. Raises ModelError where the architecture is unknown or the
    weights do not fit it, and WeightsUnavailable where its own are not available.
    """
    skeleton = find_skeleton(arch, taken.size)
    if skeleton is None:
        if not _has_torch():
            raise unknown_architecture(arch)
        return _traced(arch, weights, taken, report)
    found = given(weights) if weights else obtain(pretrained_of(skeleton), default_cache(), report)
    fitted = fit(skeleton, found.path, report)
    preprocessing = taken.applied_to(skeleton.preprocessing, has_one_channel=fitted.has_one_channel)
    crop = preprocessing.crop
    try:
        lowered, ending = _lowered(fitted.archive, (1, crop, crop, 3))
    except LoweringError as error:
        reason = f"{arch} cannot run on {crop} x {crop} pixels with these weights: {error}"
        if not _has_torch():
            raise ModelError(reason) from error
        report(reason)
        return _traced(arch, weights, taken, report)
    if weights and (assumed := taken.assumed(preprocessing)):
        report(assumed)
    return LoweredSubject(arch, arch, lowered, found.origin, preprocessing, ending)


def read_torchscript(path: Path, taken: InputOptions, report: Report) -> Subject:
    """Return the network in a TorchScript file: traced, scripted, frozen, or `half()`; torch is not needed.

    What it does not say of its pictures is assumed as for ImageNet, and reported. Raises ModelError where the
    file is damaged, is something else, or has operations that no plan can run.
    """
    found = given(path)
    archive = open_archive(path)
    crop = taken.size or _IMAGENET.crop
    try:
        (lowered, ending), has_one_channel = _lowered(archive, (1, crop, crop, 3)), False
    except LoweringError as error:
        try:
            (lowered, ending), has_one_channel = _lowered(archive, (1, crop, crop, 1)), True
            take_colour(lowered.builder)
        except LoweringError:
            raise ModelError(
                f"{printable(path)}: cannot run on {crop} x {crop} pixels without torch: {error}; --size N"
                " says what it was traced for; a network of torchvision's that no plan can run is built from"
                " its state dict, with --arch and --weights"
            ) from error
    preprocessing = taken.applied_to(_IMAGENET, has_one_channel=has_one_channel)
    if assumed := taken.assumed(preprocessing):
        report(assumed)
    name = printable(path.stem, _LONGEST_NAME) or TORCHSCRIPT
    return LoweredSubject(name, TORCHSCRIPT, lowered, found.origin, preprocessing, ending)


def _lowered(archive: Archive, shape: Shape) -> tuple[Lowered, Ending]:
    translated = translate_archive(archive, shape)
    return Lowered(translated.plan, translated.output), cast(Ending, translated.ending)


def _has_torch() -> bool:
    return find_spec("torch") is not None


def _traced(arch: str, weights: Path | None, taken: InputOptions, report: Report) -> Subject:
    from edge_agent.tools.builder.traced import read_traced

    return read_traced(arch, weights, taken, report)
