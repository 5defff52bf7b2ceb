"""The demo's model: ResNet-18 where its weights can be downloaded, else one whose weights are a package."""

from __future__ import annotations

from pathlib import Path

from edge_agent.errors import ArtifactError
from edge_agent.model.sidecar import Artifact, read_sidecar
from edge_agent.tools import Report

PREFERRED_ARCH = "resnet18"
FALLBACK_ARCH = "efficientnet_lite0"


def ensure_model(directory: Path, report: Report, *, rebuild: bool = False) -> Artifact:
    """Return the model in `directory`, building it there when it is missing, damaged or to be rebuilt.

    Reports which network it is and, where it is not ResNet-18, why. Raises ModelError when
    neither can be built.
    """
    if not rebuild and (built := _already_built(directory)) is not None:
        report(f"{built.sidecar.name}, built {built.sidecar.created}, in {directory}")
        return built
    return _build(directory, report)


def _already_built(directory: Path) -> Artifact | None:
    try:
        return read_sidecar(directory)
    except ArtifactError:
        return None


def _build(directory: Path, report: Report) -> Artifact:
    from edge_agent.tools.builder.build import BuildOptions, WeightsUnavailable, build

    try:
        return build(BuildOptions(arch=PREFERRED_ARCH, output=directory), report)
    except WeightsUnavailable as error:
        report(f"{error}")
        report(f"using {FALLBACK_ARCH} instead: its ImageNet weights are in an installed package")
        return build(BuildOptions(arch=FALLBACK_ARCH, output=directory), report)
