"""Makes a network's files for every library: `python -m benchmarks.peers.convert WHAT DIRECTORY`.

WHAT is `network NAME`, which makes the model directory, the TorchScript file, a picture and the logits of
eager FP32 torch; or a library, whose files are made from the TorchScript file. Each runs in a process of its
own, since the converters do not get along with each other. Weights are seeded, and batch norms settled on
random pictures, which is harder on small numbers than trained weights.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

PICTURE, LOGITS, TORCHSCRIPT = "picture.npy", "logits.npy", "torchscript.pt"
_SIDE = 224


def make_network(name: str, directory: Path) -> None:
    """A model directory as `edge-agent model build` makes it, and what the comparison needs beside it."""
    import torch

    from edge_agent.tools.builder.build import BuildOptions, build
    from edge_agent.tools.builder.script import freeze
    from tests.tools.builder.networks import network, picture

    module = network(name)
    weights = directory.with_name(f"{name}.pth")
    weights.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), weights)
    build(BuildOptions(arch=name, output=directory, weights=weights), print)
    weights.unlink()
    tensor = picture()
    with torch.inference_mode():
        np.save(directory / LOGITS, module(tensor).numpy().reshape(-1))
    np.save(directory / PICTURE, tensor.numpy())
    torch.jit.save(freeze(module, (1, _SIDE, _SIDE, 3)), str(directory / TORCHSCRIPT))


def to_onnx(directory: Path) -> None:
    """ONNX, by torch's own exporter of TorchScript."""
    import torch

    module, example = _load(directory)
    file = str(directory / "model.onnx")
    torch.onnx.export(module, (example,), file, dynamo=False, input_names=["input"], output_names=["logits"])


def to_ncnn(directory: Path) -> None:
    """ncnn, by pnnx; weights are stored in FP16, its default."""
    import pnnx

    work = directory / "pnnx"
    work.mkdir(exist_ok=True)
    (work / "model.pt").write_bytes((directory / TORCHSCRIPT).read_bytes())
    command = [pnnx.EXEC_PATH, "model.pt", f"inputshape=[1,3,{_SIDE},{_SIDE}]"]
    subprocess.run(command, cwd=work, check=True, capture_output=True)
    (work / "model.ncnn.bin").replace(directory / "model.bin")
    (work / "model.ncnn.param").replace(directory / "model.param")


def to_litert(directory: Path) -> None:
    """.tflite files, by litert-torch, which takes exported programs; its quantizer makes the smaller ones."""
    import litert_torch
    import torch
    from torch._export.converter import TS2EPConverter

    module, example = _load(directory)
    program = TS2EPConverter(module, (example,)).convert()
    # litert-torch writes out a tensor's memory without regard to its strides, and a frozen module's weights
    # are in channels_last order: the answers would be wrong.
    for name, constant in program.constants.items():
        if isinstance(constant, torch.Tensor):
            program.constants[name] = constant.contiguous()
    converted: Any = litert_torch.convert(program.module(), (example,))
    file = directory / "model.tflite"
    converted.export(str(file))
    _halve_weights(file, directory / "fp16.tflite")
    _quantize(file, directory / "int8.tflite", np.load(directory / PICTURE))


def _halve_weights(file: Path, output: Path) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import AlgorithmName, Quantizer

    made = Quantizer(str(file))
    made.update_quantization_recipe(
        ".*",
        qtyping.TFLOperationName.ALL_SUPPORTED,
        qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        AlgorithmName.FLOAT_CASTING,
    )
    made.quantize().export_model(str(output), overwrite=True)


def _quantize(file: Path, output: Path, picture: Any) -> None:
    """Weights and activations as int8; the ranges are those of one picture: this row is about speed."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import recipe
    from ai_edge_quantizer.quantizer import Quantizer

    made = Quantizer(str(file))
    made.load_quantization_recipe(recipe.static_wi8_ai8())
    interpreter: Any = Interpreter(str(file))
    signature, wanted = next(iter(interpreter.get_signature_list().items()))
    calibration = made.calibrate({signature: [{wanted["inputs"][0]: picture}]})
    made.quantize(calibration).export_model(str(output), overwrite=True)


def _load(directory: Path) -> tuple[Any, torch.Tensor]:
    import torch

    module = torch.jit.load(str(directory / TORCHSCRIPT), map_location="cpu")  # type: ignore[no-untyped-call]
    return module, torch.zeros(1, 3, _SIDE, _SIDE)


CONVERTERS: dict[str, Callable[[Path], None]] = {
    "onnxruntime": to_onnx,
    "openvino": to_onnx,
    "ncnn": to_ncnn,
    "litert": to_litert,
}


def main(arguments: Sequence[str]) -> None:
    what, *rest = arguments
    if what == "network":
        make_network(rest[0], Path(rest[1]))
    else:
        CONVERTERS[what](Path(rest[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
