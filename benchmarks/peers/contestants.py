"""Who takes part in the comparison: each library with its default options and with those that help it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

OWN = "own"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One library with one set of options. Names begin with the library's."""

    name: str
    library: str
    """What `libraries.load` knows it by; OWN for the agent's engines."""
    arithmetic: str
    """What it computes in: fp32, or int8."""
    file: str = ""
    """Its model file in a network's directory; empty for the agent's engines, which read that directory."""
    needs: tuple[str, ...] = ()
    """The package that runs it, and those that make its file."""
    options: Mapping[str, str] = field(default_factory=dict)

    def missing(self, files: Path) -> list[str]:
        """The packages that it lacks here: to run, and to convert where its file is not there yet."""
        wanted = self.needs[:1] if (files / self.file).exists() else self.needs
        return [package for package in wanted if importlib.util.find_spec(package) is None]


def _own(name: str, engine: str, precision: str) -> Contestant:
    return Contestant(name, OWN, "fp32", options={"engine": engine, "precision": precision})


_ORT = ("onnxruntime", "onnx")
_VINO = ("openvino", "onnx")
_NCNN = ("ncnn", "pnnx")
_LITE = ("ai_edge_litert", "litert_torch")
CONTESTANTS = (
    _own("native, FP16 weights", "native", "fp16"),
    _own("native, FP32 weights", "native", "fp32"),
    _own("XNNPACK, FP16 weights", "xnnpack", "fp16"),
    Contestant("ONNX Runtime, default", "onnxruntime", "fp32", "model.onnx", _ORT),
    Contestant("ONNX Runtime, leanest", "onnxruntime", "fp32", "model.onnx", _ORT, {"lean": "1"}),
    Contestant("OpenVINO, f32", "openvino", "fp32", "model.onnx", _VINO),
    Contestant("ncnn, default", "ncnn", "fp32", "model.param", _NCNN),
    Contestant("ncnn, no Winograd", "ncnn", "fp32", "model.param", _NCNN, {"plain": "1"}),
    Contestant("LiteRT, fp32", "litert", "fp32", "model.tflite", _LITE),
    Contestant("LiteRT, fp16 weights", "litert", "fp32", "fp16.tflite", _LITE),
    Contestant("LiteRT, int8", "litert", "int8", "int8.tflite", _LITE),
    Contestant("TorchScript, FP32", "torch", "fp32", "torchscript.pt", ("torch",)),
)
