"""What a model is built from: a network with its trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from edge_agent.model.sidecar import ArtifactFile, Preprocessing, WeightsOrigin
from edge_agent.tools import Report

Files = dict[str, tuple[ArtifactFile, ...]]
Ending = Literal["", "softmax", "sigmoid"]

TORCHSCRIPT = "torchscript"
"""The architecture of a model that was built from somebody's TorchScript file."""


class Subject(Protocol):
    """A classifier with trained weights."""

    @property
    def name(self) -> str:
        """What the model is called where nothing else is said."""

    @property
    def arch(self) -> str:
        """Its architecture, for the sidecar."""

    @property
    def classes(self) -> int:
        """The number of its logits."""

    @property
    def parameters(self) -> int:
        """The number of its weights."""

    @property
    def origin(self) -> WeightsOrigin:
        """Where they came from."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How it takes its pictures."""

    @property
    def torch_version(self) -> str:
        """The oldest torch that is known to read its TorchScript files."""

    @property
    def ending(self) -> Ending:
        """What it ended with; that is left out of its files, since the daemon computes it."""

    def write(self, directory: Path, report: Report) -> tuple[Files, str]:
        """Write its files, and check their answers.

        Returns them by their role in the sidecar, and why there are no plans; empty where there are. Raises
        ModelError where an answer is too far off.
        """
