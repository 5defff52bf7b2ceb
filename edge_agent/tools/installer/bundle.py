"""Makes a bundle of a model directory: one file, the same bytes each time, which devices fetch over HTTPS."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import (
    SIDECAR_NAME,
    Artifact,
    ArtifactFile,
    check_whole,
    describe_file,
    sidecar_text,
    without_programs,
)


def write_bundle(artifact: Artifact, output: Path) -> ArtifactFile:
    """Write the model's plans, and a sidecar that lists them; returns the bundle's size and SHA-256.

    TorchScript is left out: devices run no program from elsewhere. Raises ArtifactError where the model is
    damaged, ModelError where it has no plan, or the bundle cannot be written or is there already.
    """
    plans = replace(artifact, sidecar=without_programs(artifact.sidecar))
    if not plans.sidecar.files:
        why = artifact.sidecar.not_lowered or "not built"
        raise ModelError(
            f"{artifact.directory}: it has no plan ({why}), and devices run no TorchScript from elsewhere:"
            " have `edge-agent model install` install it on each"
        )
    check_whole(plans)
    unfinished = output.with_name(f"{output.name}.new")
    if output.exists():
        raise ModelError(f"{output}: is there already; devices may be fetching it: name another")
    try:
        with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as bundle:
            _fill(bundle, plans)
        unfinished.replace(output)
    except (OSError, ValueError) as error:
        unfinished.unlink(missing_ok=True)
        raise ModelError(f"{output}: cannot be written: {error}") from None
    return describe_file(output)


def _fill(bundle: tarfile.TarFile, artifact: Artifact) -> None:
    sidecar = sidecar_text(artifact.sidecar).encode()
    _add(bundle, SIDECAR_NAME, len(sidecar), io.BytesIO(sidecar))
    for name in sorted(artifact.sidecar.listed):
        path = artifact.directory / name
        with path.open("rb") as file:
            _add(bundle, name, path.stat().st_size, file)


def _add(bundle: tarfile.TarFile, name: str, size: int, content: BinaryIO) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    bundle.addfile(entry, content)
