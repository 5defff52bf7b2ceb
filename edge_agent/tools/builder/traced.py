"""Torch's part in building: the networks that no plan can run, traced from their eager modules."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ModelError
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import ArtifactFile, Preprocessing, WeightsOrigin, describe_file
from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.builder import script
from edge_agent.tools.builder.answers import LOGIT_TOLERANCE
from edge_agent.tools.builder.eager import Network, load_network
from edge_agent.tools.builder.half_weights import store_weights_as_half
from edge_agent.tools.builder.input_options import InputOptions
from edge_agent.tools.builder.lowering.lower import LoweringError, lower

if TYPE_CHECKING:
    import torch

    from edge_agent.tools.builder.subject import Ending, Files

_PROBES = 2


@dataclass(frozen=True, slots=True)
class TracedSubject:
    """An eager network of torch's: see `Subject`."""

    network: Network

    @property
    def name(self) -> str:
        return self.network.architecture.name

    @property
    def arch(self) -> str:
        return self.network.architecture.name

    @property
    def classes(self) -> int:
        return self.network.classes

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.module.parameters())

    @property
    def origin(self) -> WeightsOrigin:
        return self.network.origin

    @property
    def preprocessing(self) -> Preprocessing:
        return self.network.preprocessing

    @property
    def ending(self) -> Ending:
        return ""

    @property
    def torch_version(self) -> str:
        import torch

        return str(torch.__version__)

    def write(self, directory: Path, report: Report) -> tuple[Files, str]:
        """Trace it, and hold every file's answers against the eager network's: see `Subject.write`."""
        network = self.network
        expected = _eager_answers(network)
        frozen = script.freeze(network.module, network.shape)
        files: Files = {"torchscript-fp32": (_write(frozen, "fp32", directory, network, expected, report),)}
        not_lowered = ""
        try:
            files |= lower(frozen, input_shape=network.shape, directory=directory)
            report("lowered for the native and the xnnpack engine")
        except LoweringError as error:
            not_lowered = str(error)
            report(f"the model stays on the torchscript engine, because it cannot be lowered: {error}")
        store_weights_as_half(frozen)  # in place, therefore last
        files["torchscript-fp16"] = (_write(frozen, "fp16", directory, network, expected, report),)
        return files, not_lowered


def read_traced(arch: str, weights: Path | None, taken: InputOptions, report: Report) -> TracedSubject:
    """Return torchvision's network of that name: see `load_network`, also for what it raises."""
    return TracedSubject(load_network(arch, weights, report, taken))


def _eager_answers(network: Network) -> list[torch.Tensor]:
    import torch

    try:
        with torch.inference_mode():
            answers = [network.module(script.probe(network.shape, seed)) for seed in range(_PROBES)]
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = printable(str(error), 300)
        raise ModelError(
            f"{network.architecture.name} cannot run on {network.shape[1]} x {network.shape[2]} pixels with"
            f" these weights: {reason}"
        ) from error
    for answer in answers:
        if not isinstance(answer, torch.Tensor) or answer.shape != (1, network.classes):
            shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
            raise ModelError(
                f"{network.architecture.name} answers {shape}, expected (1, {network.classes}) logits"
            )
    return answers


def _write(
    module: torch.jit.ScriptModule,
    precision: Precision,
    directory: Path,
    network: Network,
    expected: list[torch.Tensor],
    report: Report,
) -> ArtifactFile:
    path = directory / f"torchscript-{precision}.pt"
    script.save(module, path)
    error = _largest_error(script.load(path), network, expected)
    scale = max(float(answer.abs().max()) for answer in expected)
    if not error <= LOGIT_TOLERANCE[precision] * scale:  # a NaN must not pass
        raise ModelError(
            f"{network.architecture.name} in {precision} differs from eager FP32 by {error:.3g} where the"
            f" largest logit is {scale:.3g}: the weights lose too much in this precision"
        )
    gc.collect()  # the module that was read back, before the next one is made
    written = describe_file(path)
    report(f"{path.name}: {written.bytes / 1e6:.1f} MB, largest logit error {error:.1e} (of {scale:.3g})")
    return written


def _largest_error(module: torch.jit.ScriptModule, network: Network, expected: list[torch.Tensor]) -> float:
    import torch

    with torch.inference_mode():
        answers = (module(script.probe(network.shape, seed)) for seed in range(len(expected)))
        return max(float((a - e).abs().max()) for a, e in zip(answers, expected, strict=True))
