"""The sidecar, `model.json`: what a built model is, and the files that it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SIDECAR_NAME = "model.json"
SIDECAR_FORMAT = 1

FileRole = Literal["torchscript-fp16", "torchscript-fp32", "xnnpack-fp16", "xnnpack-fp32"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture becomes the network's input: torchvision's evaluation transform, as numbers.

    The shorter side is resized to `resize` (antialiased), the centre `crop` x `crop` is cut out, and each
    channel of a pixel scaled to 0..1 becomes (value - mean) / std.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file of the model directory."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WeightsOrigin:
    """Where the weights came from, as published in `info`."""

    source: str
    """`IMAGENET1K_V1`, a package's name and version, or the given file's name."""
    sha256: str


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Everything about a model but its weights.

    `sha256` identifies the model as a whole: the hash over the sorted (role, file sha256) pairs of `files`.
    `files` maps a role to the files that serve it: one for a torchscript role, plan then weights for an
    xnnpack role. `not_lowered` says why there are no xnnpack files, and is empty where there are.
    """

    name: str
    arch: str
    created: str
    torch_version: str
    weights: WeightsOrigin
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    files: dict[str, tuple[ArtifactFile, ...]] = field(default_factory=dict)
    not_lowered: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model directory whose sidecar was read and found valid."""

    directory: Path
    sidecar: Sidecar
