"""What the tests of several packages share: a model with real weights, built once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is imported: its waiting threads would otherwise spin, against everything else that runs here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from edge_agent.artifact.sidecar import Artifact
from edge_agent.model.build import BuildOptions, build


@pytest.fixture(scope="session")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """EfficientNet-Lite0 with its ImageNet weights, for both engines in both precisions."""
    directory: Path = tmp_path_factory.mktemp("models") / "lite0"
    return build(BuildOptions(arch="efficientnet_lite0", output=directory), lambda _line: None)
