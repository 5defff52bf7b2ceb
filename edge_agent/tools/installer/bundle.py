"""Makes a bundle of a model directory: one file, the same bytes each time, which devices fetch over HTTPS."""

from __future__ import annotations

import tarfile
from pathlib import Path

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import SIDECAR_NAME, Artifact, ArtifactFile, check_whole, describe_file


def write_bundle(artifact: Artifact, output: Path) -> ArtifactFile:
    """Write the sidecar and the files that it lists; returns the bundle's size and SHA-256.

    Raises ArtifactError where the model is damaged, ModelError where the bundle cannot be written or is there
    already.
    """
    check_whole(artifact)
    unfinished = output.with_name(f"{output.name}.new")
    if output.exists():
        raise ModelError(f"{output}: is there already; devices may be fetching it: name another")
    try:
        with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as bundle:
            for name in (SIDECAR_NAME, *sorted(artifact.sidecar.listed)):
                _add(bundle, artifact.directory / name)
        unfinished.replace(output)
    except (OSError, ValueError) as error:
        unfinished.unlink(missing_ok=True)
        raise ModelError(f"{output}: cannot be written: {error}") from None
    return describe_file(output)


def _add(bundle: tarfile.TarFile, path: Path) -> None:
    entry = tarfile.TarInfo(path.name)
    entry.size, entry.mode = path.stat().st_size, 0o644
    with path.open("rb") as file:
        bundle.addfile(entry, file)
