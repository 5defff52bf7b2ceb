"""Each library behind one function from a picture to logits; imported only in the measuring processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]
Run = Callable[[], Tensor]
"""Runs the one picture that it was made for, and returns its logits, shape (classes,)."""


def load(library: str, file: Path, threads: int, options: Mapping[str, str], picture: Tensor) -> Run:
    """Load a model file, or a model directory for the agent's engines.

    `picture` is normalised, float32, shape (1, 3, height, width). Raises whatever the library raises.
    """
    return _LOADERS[library](file, threads, options, picture)


def _own(file: Path, threads: int, options: Mapping[str, str], picture: Tensor) -> Run:
    from edge_agent.inference.choice import load_engine
    from edge_agent.model.sidecar import read_sidecar

    name: Any = options["engine"]
    precision: Any = options["precision"]
    engine = load_engine(read_sidecar(file), name, precision, threads=threads)
    nhwc = np.ascontiguousarray(picture.transpose(0, 2, 3, 1))
    return lambda: engine.run(nhwc)


def _onnxruntime(file: Path, threads: int, options: Mapping[str, str], picture: Tensor) -> Run:
    import onnxruntime

    wanted = onnxruntime.SessionOptions()
    wanted.intra_op_num_threads = threads
    wanted.inter_op_num_threads = 1
    if "lean" in options:
        # Its highest level copies the weights into an order of its own.
        wanted.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        wanted.enable_cpu_mem_arena = False
        wanted.enable_mem_pattern = False
        wanted.add_session_config_entry("session.disable_prepacking", "1")
    session = onnxruntime.InferenceSession(str(file), wanted, providers=["CPUExecutionProvider"])
    return lambda: np.asarray(session.run(None, {"input": picture})[0], np.float32).reshape(-1)


def _openvino(file: Path, threads: int, _: Mapping[str, str], picture: Tensor) -> Run:
    import openvino

    core = openvino.Core()
    wanted = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # its default is bfloat16 where the CPU has that
    }
    request = core.compile_model(core.read_model(str(file)), "CPU", wanted).create_infer_request()
    return lambda: np.asarray(request.infer([picture], share_inputs=True)[0], np.float32).reshape(-1)


def _ncnn(file: Path, threads: int, options: Mapping[str, str], picture: Tensor) -> Run:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_winograd_convolution = "plain" not in options
    net.load_param(str(file))
    net.load_model(str(file.with_suffix(".bin")))
    mat = ncnn.Mat(picture[0])  # it only points to the picture

    def run() -> Tensor:
        extractor = net.create_extractor()
        extractor.input("in0", mat)
        status, logits = extractor.extract("out0")
        if status != 0:
            raise RuntimeError(f"ncnn failed with status {status}")
        return np.array(logits, np.float32).reshape(-1)

    return run


def _litert(file: Path, threads: int, _: Mapping[str, str], picture: Tensor) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(str(file), num_threads=threads)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    fed: Any = picture if taken["shape"][1] == 3 else np.ascontiguousarray(picture.transpose(0, 2, 3, 1))
    if taken["dtype"] == np.int8:
        scale, zero = taken["quantization"]
        fed = np.clip(np.round(fed / scale) + zero, -128, 127).astype(np.int8)

    def run() -> Tensor:
        interpreter.set_tensor(taken["index"], fed)
        interpreter.invoke()
        logits = interpreter.get_tensor(given["index"])
        if logits.dtype == np.int8:
            scale, zero = given["quantization"]
            logits = (logits.astype(np.float32) - zero) * scale
        return np.asarray(logits, np.float32).reshape(-1)

    return run


def _torch(file: Path, threads: int, _: Mapping[str, str], picture: Tensor) -> Run:
    import torch

    torch.set_num_threads(threads)
    module: Any = torch.jit.load(str(file)).eval()  # type: ignore[no-untyped-call]
    tensor = torch.from_numpy(picture)

    def run() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = module(tensor).numpy().reshape(-1)
        return logits

    return run


_LOADERS: Mapping[str, Callable[[Path, int, Mapping[str, str], Tensor], Run]] = {
    "own": _own,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "ncnn": _ncnn,
    "litert": _litert,
    "torch": _torch,
}
