"""Converts a built model to the other libraries' formats, each in a process of its own.

`python -m benchmarks.convert KIND TORCHSCRIPT_FILE CROP OUTPUT`. All start from the same frozen TorchScript
module in FP32, so that every library runs the same weights.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def to_onnx(source: Path, crop: int, output: Path) -> None:
    """ONNX, by torch's own exporter of TorchScript."""
    import torch

    module, example = _load(source, crop)
    torch.onnx.export(
        module,
        (example,),
        str(output),
        dynamo=False,
        input_names=["input"],
        output_names=["logits"],
    )


def to_ncnn(source: Path, crop: int, output: Path) -> None:
    """ncnn, by pnnx; weights are stored in FP16, its default."""
    import pnnx

    produced = output.with_suffix(".pt")  # pnnx names its output after its input
    produced.write_bytes(source.read_bytes())
    command = [pnnx.EXEC_PATH, produced.name, f"inputshape=[1,3,{crop},{crop}]"]
    subprocess.run(command, cwd=output.parent, check=True, capture_output=True)
    for suffix in (".param", ".bin"):
        produced.with_suffix(f".ncnn{suffix}").replace(output.with_suffix(suffix))


def to_litert(source: Path, crop: int, output: Path) -> None:
    """A .tflite file, by litert-torch; it takes exported programs, to which torch converts TorchScript."""
    import litert_torch
    import torch
    from torch._export.converter import TS2EPConverter

    module, example = _load(source, crop)
    program = TS2EPConverter(module, (example,)).convert()
    # litert-torch writes out a tensor's memory without regard to its strides, and a frozen module's weights
    # are in channels_last order: the answers would be wrong.
    for name, constant in program.constants.items():
        if isinstance(constant, torch.Tensor):
            program.constants[name] = constant.contiguous()
    converted: Any = litert_torch.convert(program.module(), (example,))
    converted.export(str(output))


CONVERTERS: dict[str, Callable[[Path, int, Path], None]] = {
    "onnxruntime": to_onnx,
    "ncnn": to_ncnn,
    "litert": to_litert,
}
FILE_NAMES = {"onnxruntime": "model.onnx", "ncnn": "model.param", "litert": "model.tflite"}


def _load(source: Path, crop: int) -> tuple[Any, torch.Tensor]:
    import torch

    module = torch.jit.load(str(source), map_location="cpu")  # type: ignore[no-untyped-call]
    return module, torch.zeros(1, 3, crop, crop)


def main(arguments: Sequence[str]) -> None:
    kind, source, crop, output = arguments
    CONVERTERS[kind](Path(source), int(crop), Path(output))


if __name__ == "__main__":
    main(sys.argv[1:])
