"""The rows that run torch as tutorials write it; loaded only in measuring processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_agent.inference import NO_FEATURE, EngineInfo
from edge_agent.model.sidecar import Sidecar, read_sidecar
from edge_agent.tools.measure.task import Task

if TYPE_CHECKING:
    import torch
    from torch import nn

    from edge_agent.tools.builder.pretrained import Pretrained


class TorchCall:
    """A torch module called the ordinary way; an `Engine` for the measuring process."""

    def __init__(self, forward: Callable[[torch.Tensor], torch.Tensor], precision: str, threads: int) -> None:
        import torch

        self._forward = forward
        self._dtype = torch.float16 if precision == "fp16" else torch.float32
        self._info = EngineInfo("torch", precision, precision, threads, f"torch {torch.__version__}")

    @property
    def info(self) -> EngineInfo:
        return self._info

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        picture = torch.from_numpy(tensor).permute(0, 3, 1, 2).contiguous().to(self._dtype)
        with torch.no_grad():
            logits = self._forward(picture)
        return logits.float().numpy().reshape(-1)

    @property
    def features(self) -> NDArray[np.float32]:
        """None: it is there to be timed."""
        return NO_FEATURE

    def close(self) -> None:
        del self._forward


def load_eager(task: Task) -> TorchCall:
    """The network as a torchvision module, its weights loaded into it."""
    return TorchCall(_network(task), "fp32", _use_threads(task))


def load_eager_half(task: Task) -> TorchCall:
    """The network converted by `.half()`: FP16 weights, and FP16 arithmetic."""
    return TorchCall(_network(task).half(), "fp16", _use_threads(task))


def load_torchscript(task: Task) -> TorchCall:
    """The built FP32 module, loaded with `torch.jit.load` and called."""
    import torch

    artifact = read_sidecar(Path(task.model))
    (file,) = artifact.sidecar.files["torchscript-fp32"]
    module = torch.jit.load(  # type: ignore[no-untyped-call]
        str(artifact.directory / file.name), map_location="cpu"
    )
    return TorchCall(module, "fp32", _use_threads(task))


def load_naive_half(task: Task) -> TorchCall:
    """The network converted by `.half()`, traced and frozen: FP16 weights, and FP16 arithmetic."""
    import torch

    threads = _use_threads(task)
    crop = read_sidecar(Path(task.model)).sidecar.preprocessing.crop
    example = torch.zeros(1, 3, crop, crop, dtype=torch.float16)
    with torch.no_grad():
        traced = torch.jit.trace(_network(task).half(), example)  # type: ignore[no-untyped-call]
        module = torch.jit.freeze(traced)
    return TorchCall(module, "fp16", threads)


def weights_file(sidecar: Sidecar, given: Path | None) -> Path | None:
    """Return the file that the model was built from, recognised by its hash; None where it is not here.

    Looks at `given`, in the architecture's package, and in the folder that `model build` downloads to.
    """
    from edge_agent.model.sidecar import file_sha256
    from edge_agent.tools.builder.pretrained import default_cache

    candidates = [given] if given else []
    if pretrained := _pretrained(sidecar.arch):
        candidates.append(pretrained.path or default_cache() / pretrained.url.rpartition("/")[2])
    for path in candidates:
        if path.is_file() and file_sha256(path) == sidecar.weights.sha256:
            return path
    return None


def _pretrained(arch: str) -> Pretrained | None:
    from edge_agent.errors import ModelError
    from edge_agent.tools.builder.architectures import find_architecture
    from edge_agent.tools.builder.skeletons.find import find_skeleton, pretrained_of

    try:
        skeleton = find_skeleton(arch)
        return pretrained_of(skeleton) if skeleton else find_architecture(arch).pretrained
    except ModelError:  # a TorchScript file, or a package that is not here
        return None


def _network(task: Task) -> nn.Module:
    from edge_agent.tools.builder.architectures import find_architecture
    from edge_agent.tools.builder.eager import fit

    sidecar = read_sidecar(Path(task.model)).sidecar
    architecture = find_architecture(sidecar.arch, sidecar.preprocessing.crop)
    if weights := task.options.get("weights"):
        return fit(architecture, Path(weights), lambda _line: None).module
    return architecture.make(len(sidecar.labels)).eval()


def _use_threads(task: Task) -> int:
    import torch

    threads = int(task.options["threads"])
    torch.set_num_threads(threads)
    return threads
