"""The torchscript engine: torch itself runs the model. It is the reference, and runs any model."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ArtifactError, EngineError
from edge_agent.inference import NO_FEATURE, EngineInfo
from edge_agent.inference.last_layer import last_layer_reads
from edge_agent.model.plan import MOST_FEATURES, Precision
from edge_agent.model.sidecar import SIDECAR_NAME, Artifact, open_role, role_of

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger(__name__)
_LARGEST_PROGRAM_BYTES = 32 << 20

_Network = Callable[["torch.Tensor"], tuple["torch.Tensor", "torch.Tensor | None"]]


class TorchScriptEngine:
    """A TorchScript module, run on one input shape by the thread that loaded it.

    torch keeps a pool of threads for each thread that runs it, and its memory grows with each new shape: so
    load and run it in one thread.
    """

    def __init__(self, module: torch.jit.ScriptModule, shape: tuple[int, ...], info: EngineInfo) -> None:
        self._network: _Network | None = _with_features(module)
        self._read: torch.Tensor | None = None
        """What the last layer read, as torch holds it."""
        self._shape = shape
        self._info = info

    @classmethod
    def load(
        cls, artifact: Artifact, precision: Precision, *, threads: int, affinity: tuple[int, ...] = ()
    ) -> TorchScriptEngine:
        """Load the model's module, and run it once to see what it answers.

        `threads` and `affinity` (cores; empty for all) apply to all of torch in this process, and to the
        calling thread. Raises ArtifactError when the file is missing, damaged, written by a newer torch, or
        does not answer one logit a label; EngineError when torch is missing or fails.
        """
        torch = _import_torch()
        _check_version(artifact, str(torch.__version__))
        (path,) = open_role(artifact, role_of("torchscript", precision))
        _pin(affinity)
        torch.set_num_threads(threads)
        crop = artifact.sidecar.preprocessing.crop
        info = EngineInfo("torchscript", precision, "fp32", threads, f"torch {torch.__version__}")
        engine = cls(_read(path), (1, crop, crop, 3), info)
        engine._check_answer(artifact)
        return engine

    @property
    def info(self) -> EngineInfo:
        return self._info

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits of one normalised picture: see `Engine.run`."""
        import torch

        if self._network is None:
            raise EngineError("the torchscript engine was closed")
        if tensor.shape != self._shape or tensor.dtype != np.float32 or not tensor.flags.c_contiguous:
            raise EngineError(
                f"the input is {tensor.dtype} {tensor.shape}, expected C-contiguous float32 {self._shape}"
            )
        # The same memory, seen as NCHW in channels_last order.
        picture = torch.from_numpy(tensor).permute(0, 3, 1, 2)
        try:
            # Without its optimising executor torch is as fast, and saves the 4 to 6 MB of graphs specialised
            # to shapes.
            with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
                answer, self._read = self._network(picture)
                logits: NDArray[np.float32] = answer[0].numpy()
        except RuntimeError as error:
            raise EngineError(f"torch failed to run the model: {_last_line(error)}") from error
        return logits

    @property
    def features(self) -> NDArray[np.float32]:
        """See `Engine.features`; a copy only where the layer reads a picture."""
        if self._network is None:
            raise EngineError("the torchscript engine was closed")
        if self._read is None or self._read.numel() > MOST_FEATURES:
            return NO_FEATURE
        read = self._read.permute(0, 2, 3, 1) if self._read.dim() == 4 else self._read
        features: NDArray[np.float32] = read.reshape(-1).numpy()
        return features

    def close(self) -> None:
        self._network = self._read = None

    def _check_answer(self, artifact: Artifact) -> None:
        try:
            logits = self.run(np.zeros(self._shape, np.float32))
        except (IndexError, AttributeError, TypeError) as error:
            raise ArtifactError(f"{artifact.directory}: the model does not answer logits: {error}") from error
        labels = len(artifact.sidecar.labels)
        if logits.shape != (labels,):
            raise ArtifactError(
                f"{artifact.directory / SIDECAR_NAME}: has {labels} labels, and the model answers"
                f" {logits.size} logits; build the model again with its own labels"
            )


def _import_torch() -> ModuleType:
    """Import torch with the settings of a daemon, unless this process has imported it already."""
    try:
        if "torch" not in sys.modules:
            # By default waiting threads spin, and take the cores from everything else on the board: on a busy
            # board a frame takes many times as long.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            with _compiler_kernels_left_out():
                import torch
        import torch
    except ImportError as error:
        raise EngineError(
            f"the torchscript engine needs torch, which cannot be imported ({error}):"
            " pip install 'edge-agent[torch]'"
        ) from error
    return torch


@contextmanager
def _compiler_kernels_left_out() -> Iterator[None]:
    """Save 18 MB: leave out the kernels in Python that torch registers for its compiler's fake tensors.

    No inference uses them. An empty module takes their place while torch is imported; a later import gets the
    real one.
    """
    name = "torch._meta_registrations"
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


def _check_version(artifact: Artifact, installed: str) -> None:
    written_by = artifact.sidecar.torch_version
    if _release(written_by) > _release(installed):
        raise ArtifactError(
            f"{artifact.directory / SIDECAR_NAME}: the model was built with torch {written_by}, newer than"
            f" the torch {installed} here; update torch, or build the model with torch {installed}"
        )


def _release(version: str) -> tuple[int, int]:
    """Major and minor: patch releases read each other's files."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _pin(cores: tuple[int, ...]) -> None:
    """Keep the calling thread, and the threads that torch starts from it, on these cores."""
    if not cores:
        return
    try:
        os.sched_setaffinity(0, cores)
    except (OSError, ValueError, OverflowError) as error:
        available = sorted(os.sched_getaffinity(0))
        raise EngineError(
            f"model.affinity {list(cores)} cannot be set: there are the cores {available}"
        ) from error


@contextmanager
def deprecation_unmentioned() -> Iterator[None]:
    """Keep torch from announcing, at each call, that TorchScript is no longer developed."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):  # it depends on torch's version
            warnings.filterwarnings("ignore", message=r".*`?torch\.jit", category=category)
        yield


def check_archive(path: Path) -> None:
    """Check that a file of torch does not unfold to much more than its size. Raises ArtifactError.

    torch stores weights as they are and packs nothing but the program, which is small.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        size = path.stat().st_size
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ArtifactError(f"{path}: not a TorchScript file: {error}") from error
    unfolded = sum(entry.file_size for entry in entries)
    if unfolded > size + _LARGEST_PROGRAM_BYTES:
        raise ArtifactError(
            f"{path}: unfolds to {unfolded / 1e6:.0f} MB from {size / 1e6:.1f} MB: no file that torch wrote"
        )


def _with_features(module: torch.jit.ScriptModule) -> _Network:
    """The module with a second output: what its last layer reads, or None where it has no such layer."""
    import torch

    try:
        graph = module.inlined_graph  # a copy
        read = last_layer_reads(graph)
        if read is not None:
            graph.registerOutput(read)
            graph.makeMultiOutputIntoTuple()
            function = torch._C._create_function_from_graph("forward", graph)
            return lambda picture: function(module, picture)
    except (AttributeError, RuntimeError) as error:  # a torch whose graphs are handled in another way
        _LOG.warning("this torch does not give what the last layer reads: %s", _last_line(error))
    return lambda picture: (module(picture), None)


def _read(path: Path) -> torch.jit.ScriptModule:
    import torch

    check_archive(path)
    try:
        with deprecation_unmentioned():
            module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
                str(path), map_location="cpu"
            )
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"{path}: not a TorchScript file that torch can read: {_last_line(error)}"
        ) from error
    return module.eval()


def _last_line(error: Exception) -> str:
    """torch puts a C++ traceback before the message."""
    return str(error).strip().rsplit("\n", 1)[-1] or type(error).__name__
