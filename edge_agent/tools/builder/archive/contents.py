"""What a TorchScript archive holds, once it is read: objects of its classes, constants, and code as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(eq=False, slots=True)
class ScriptObject:
    """An instance of a class of the archive's own code: its attributes, and nothing that could run."""

    class_name: str
    """With its module, for instance `__torch__.torchvision.models.resnet.ResNet`."""
    attributes: dict[str, object]
    """By name: other objects, tensors, and plain values.

    A tensor is a read-only numpy array: the file's own bytes, mapped, in its own dtype and strides, but for
    BF16, which numpy lacks and which is widened to FP32.
    """


@dataclass(frozen=True, slots=True)
class Archive:
    """A TorchScript archive."""

    path: Path
    root: ScriptObject
    """The network."""
    constants: tuple[object, ...]
    """What the code calls `CONSTANTS.c0`, `CONSTANTS.c1`, ...: tensors and plain values."""
    code: Mapping[str, str]
    """The source of each module by its dotted name, for instance `__torch__.torchvision.models.resnet`."""
