"""Makes TorchScript of a network: traced for one shape, frozen, batch norm folded, saved."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge_agent.errors import ModelError
from edge_agent.inference.torchscript import deprecation_unmentioned

if TYPE_CHECKING:
    import torch
    from torch import nn

InputShape = tuple[int, int, int, int]


def freeze(network: nn.Module, shape: InputShape) -> torch.jit.ScriptModule:
    """Return `network` as one frozen graph of FP32 constants for an input of `shape` (NHWC).

    The graph takes NCHW tensors in channels_last memory format. Freezing folds each batch norm into the
    convolution before it. Raises ModelError when the network cannot be traced.
    """
    import torch

    network = network.eval().to(memory_format=torch.channels_last)
    with torch.no_grad(), deprecation_unmentioned():
        # Values that depend on the shape become constants. That is intended: the shape never changes.
        warnings.simplefilter("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        try:
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                network, probe(shape, 0), check_trace=False
            )
            return cast("torch.jit.ScriptModule", torch.jit.freeze(traced))
        except (RuntimeError, TypeError, ValueError) as error:
            raise ModelError(f"{type(network).__name__} cannot be traced to TorchScript: {error}") from error


def save(module: torch.jit.ScriptModule, path: Path) -> None:
    """Write a TorchScript file. Raises ModelError when it cannot be written."""
    import torch

    with deprecation_unmentioned():
        try:
            torch.jit.save(module, str(path))
        except RuntimeError as error:
            raise ModelError(f"{path}: cannot be written: {error}") from error


def load(path: Path) -> torch.jit.ScriptModule:
    """Read a TorchScript file that this process has just written."""
    import torch

    with deprecation_unmentioned():
        module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            str(path), map_location="cpu"
        )
    return module


def probe(shape: InputShape, seed: int) -> torch.Tensor:
    """Return a made-up picture for trying a network: normalised, coarse and fine detail, the same each time.

    `shape` is (1, height, width, 3); the tensor is (1, 3, height, width), channels_last.
    """
    import torch

    _, height, width, channels = shape
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, 7, 7, generator=random)
    fine = torch.randn(1, channels, height, width, generator=random)
    picture = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear") + 0.2 * fine
    return picture.contiguous(memory_format=torch.channels_last)
