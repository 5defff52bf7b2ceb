"""Other libraries behind the agent's `Engine` protocol; imported only in measuring processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.inference import Engine, EngineInfo
from edge_agent.tools.measure.task import Task

Float32Array = NDArray[np.float32]


class OnnxRuntime:
    """ONNX Runtime on the CPU; `lean` turns off the options that cost memory by its documentation."""

    def __init__(self, model: Path, threads: int, *, lean: bool) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        if lean:
            # Its highest level copies the weights into an order of its own.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.enable_cpu_mem_arena = False
            options.enable_mem_pattern = False
            options.add_session_config_entry("session.disable_prepacking", "1")
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._info = EngineInfo(
            "onnxruntime", "fp32", "fp32", threads, f"onnxruntime {onnxruntime.__version__}"
        )

    @property
    def info(self) -> EngineInfo:
        return self._info

    def run(self, tensor: Float32Array) -> Float32Array:
        picture = np.ascontiguousarray(tensor.transpose(0, 3, 1, 2))
        return np.asarray(self._session.run(None, {"input": picture})[0], np.float32).reshape(-1)

    def close(self) -> None:
        del self._session


class Ncnn:
    """ncnn; without Winograd's and sgemm's transformed weights it needs less memory and more time."""

    def __init__(self, model: Path, threads: int, *, winograd: bool, sgemm: bool) -> None:
        import ncnn

        self._ncnn = ncnn
        self._net = ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_winograd_convolution = winograd
        self._net.opt.use_sgemm_convolution = sgemm
        self._net.load_param(str(model))
        self._net.load_model(str(model.with_suffix(".bin")))
        self._info = EngineInfo("ncnn", "fp16", "fp32", threads, f"ncnn {ncnn.__version__}")

    @property
    def info(self) -> EngineInfo:
        return self._info

    def run(self, tensor: Float32Array) -> Float32Array:
        picture = np.ascontiguousarray(tensor[0].transpose(2, 0, 1))  # the Mat only points to it
        extractor = self._net.create_extractor()
        extractor.input("in0", self._ncnn.Mat(picture))
        status, logits = extractor.extract("out0")
        if status != 0:
            raise RuntimeError(f"ncnn failed with status {status}")
        return np.array(logits, np.float32).reshape(-1)

    def close(self) -> None:
        self._net.clear()


class LiteRt:
    """LiteRT; by default it runs on its own copy of XNNPACK."""

    def __init__(self, model: Path, threads: int, *, delegate: bool) -> None:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._interpreter: Any = Interpreter(
            str(model), num_threads=threads, experimental_op_resolver_type=resolver
        )
        self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        version = getattr(ai_edge_litert, "__version__", "")
        self._info = EngineInfo("litert", "fp32", "fp32", threads, f"ai-edge-litert {version}".strip())

    @property
    def info(self) -> EngineInfo:
        return self._info

    def run(self, tensor: Float32Array) -> Float32Array:
        is_channels_first = self._input["shape"][1] == 3
        picture = tensor.transpose(0, 3, 1, 2) if is_channels_first else tensor
        self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(picture))
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output["index"]), np.float32).reshape(-1)

    def close(self) -> None:
        del self._interpreter


def load(task: Task) -> Engine:
    """Load the library with the model file and the variant that the task's options name."""
    model, threads = Path(task.options["file"]), int(task.options["threads"])
    match task.options["peer"], task.options["variant"]:
        case "onnxruntime", variant:
            return OnnxRuntime(model, threads, lean=variant == "leanest")
        case "ncnn", variant:
            winograd, sgemm = variant == "default", variant in ("default", "plain")
            return Ncnn(model, threads, winograd=winograd, sgemm=sgemm)
        case "litert", variant:
            return LiteRt(model, threads, delegate=variant == "default")
    raise ValueError(f"no peer {task.options['peer']}")
