"""Reads what a training left behind, in any of PyTorch's formats, without running anything that it holds."""

from __future__ import annotations

import zipfile
from pathlib import Path

from edge_agent.tools.builder.archive.state_file import (
    read_legacy,
    read_safetensors,
    read_script_state,
    read_zip,
)
from edge_agent.tools.builder.weights_kind import kind_of


def read_file(path: Path) -> object:
    """Return what `torch.save` wrote, or the tensors of a safetensors or a TorchScript file.

    Tensors are read-only numpy arrays, mapped; BF16 is widened to FP32. Nothing but tensors and plain values
    are made. Raises ModelError, which says what the file is or which type stands in the way.
    """
    match kind_of(path):
        case "torchscript":
            return read_script_state(path)
        case "safetensors":
            return read_safetensors(path)
        case "checkpoint":
            return read_zip(path) if zipfile.is_zipfile(path) else read_legacy(path)
