"""Starts from a built model: its plan's weights go back into the architecture's network.

A built model has batch norm folded into the convolutions. So it is made again: each gets the statistics of
what the convolution before it gives on pictures to learn from, and the scale and shift that undo them. The
network then answers as the model does, and learns as one that never was folded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edge_agent.errors import ArtifactError, ModelError
from edge_agent.model.plan import DTYPES, Conv2d, FullyConnected, Plan
from edge_agent.model.plan_file import decode_plan
from edge_agent.model.sidecar import SIDECAR_NAME, Artifact, open_role, read_sidecar
from edge_agent.system.text import printable

_Layer = nn.Conv2d | nn.Linear


def is_model(start: str) -> bool:
    """Whether weights to begin with are those of a model directory."""
    return (Path(start) / SIDECAR_NAME).is_file()


@dataclass(frozen=True, slots=True)
class Kept:
    """A built model that a training starts from."""

    artifact: Artifact
    plan: Plan
    values: NDArray[np.float32]
    """All constants of the plan, one after the other; mapped from the file."""

    @property
    def origin(self) -> str:
        """Where the weights come from."""
        return f"the model {self.artifact.sidecar.name} ({self.artifact.sidecar.sha256[:12]})"

    def into(self, network: nn.Module, last: str, labels: Sequence[str], side: int) -> dict[str, str]:
        """Put the weights into an architecture's network, whose last layer is for `labels`.

        The last layer keeps the rows of the labels that the model knows. Returns which convolution each batch
        norm follows, for `settle`. Raises ModelError where the network is not the model's.
        """
        layers = {
            name: each for name, each in network.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)
        }
        known = {operation.name: operation for operation in self.plan.operations}
        pairs = _followed(network, layers, side)
        for name, layer in layers.items():
            operation = known.get(name)
            if not isinstance(operation, Conv2d | FullyConnected):
                raise ModelError(self._unfit(f"it has no layer {name}"))
            if name == last:
                self._take_rows(operation, layer, labels)
                continue
            weight, bias = self._weights(operation)
            if weight.shape != layer.weight.shape:
                raise ModelError(self._unfit(f"its layer {name} has the shape {tuple(weight.shape)}"))
            with torch.no_grad():
                layer.weight.copy_(weight)
                if layer.bias is not None:
                    layer.bias.copy_(bias if name not in pairs.values() else torch.zeros_like(bias))
        with torch.no_grad():
            for norm_name, conv_name in pairs.items():
                norm, operation = network.get_submodule(norm_name), known[conv_name]
                assert isinstance(norm, _BatchNorm)
                assert isinstance(operation, Conv2d | FullyConnected)
                _undo(
                    norm,
                    torch.zeros_like(norm.weight),
                    torch.ones_like(norm.weight),
                    self._weights(operation)[1],
                )
        return pairs

    def _take_rows(self, operation: Conv2d | FullyConnected, layer: _Layer, labels: Sequence[str]) -> None:
        weight, bias = self._weights(operation)
        if weight.shape[1:] != layer.weight.shape[1:]:
            raise ModelError(self._unfit(f"its last layer reads {weight.shape[1]} numbers"))
        places = {label: place for place, label in enumerate(self.artifact.sidecar.labels)}
        with torch.no_grad():
            for row, label in enumerate(labels):
                if label in places:
                    layer.weight[row] = weight[places[label]]
                    if layer.bias is not None:
                        layer.bias[row] = bias[places[label]]

    def _weights(self, operation: Conv2d | FullyConnected) -> tuple[Tensor, Tensor]:
        """Filter and bias as torch orders them."""
        given, bias = (self._constant(each) for each in (operation.filter, operation.bias))
        if isinstance(operation, Conv2d):
            return given.permute(0, 3, 1, 2), bias
        read = self.plan.tensors[operation.input].shape
        if len(read) == 4 and read[1] * read[2] > 1:  # it reads a picture, which torch flattens by channels
            given = given.reshape(len(given), *read[1:]).permute(0, 3, 1, 2).reshape(len(given), -1)
        return given, bias

    def _constant(self, place: int) -> Tensor:
        tensor = self.plan.tensors[place]
        assert tensor.offset is not None
        first = tensor.offset // self.values.itemsize
        return torch.from_numpy(self.values[first : first + tensor.elements].reshape(tensor.shape).copy())

    def _unfit(self, reason: str) -> str:
        sidecar = self.artifact.sidecar
        return (
            f"--weights {printable(self.artifact.directory)}: the model is not the {printable(sidecar.arch)}"
            f" that it could be trained further as: {reason}; begin with the file of its weights"
        )


def read_kept(directory: Path) -> Kept:
    """Read a model directory to start from. Raises ArtifactError, and ModelError where it has no plan."""
    artifact = read_sidecar(directory)
    if "xnnpack-fp32" not in artifact.sidecar.files:
        raise ModelError(
            f"--weights {printable(directory)}: the model has no plan to take weights from: begin with the"
            " file that it was built from"
        )
    if artifact.sidecar.preprocessing.grey:
        raise ModelError(f"--weights {printable(directory)}: the model sees no colours: begin with another")
    plan_path, weights_path = open_role(artifact, "xnnpack-fp32")
    try:
        plan = decode_plan(plan_path.read_bytes())
        values = np.fromfile(weights_path, DTYPES["fp32"])
    except OSError as error:
        raise ArtifactError(f"{error.filename}: cannot be read: {error.strerror or error}") from error
    return Kept(artifact, plan, values)


def settle(network: nn.Module, norms: Mapping[str, str], batches: Iterable[Tensor]) -> None:
    """Give each batch norm that was made again the statistics of what it sees, its answers left as they are.

    `norms` is what `Kept.into` returned; `batches` are pictures as the network takes them.
    """
    sums: dict[str, tuple[Tensor, Tensor, int]] = {}

    def note(name: str, seen: Tensor) -> None:
        values = seen.detach().transpose(0, 1).flatten(1).double()
        total, squares, count = sums.get(name, (0.0, 0.0, 0))
        sums[name] = (total + values.sum(1), squares + (values**2).sum(1), count + values.shape[1])

    with ExitStack() as hooks, torch.inference_mode():
        for name in norms:
            hook = network.get_submodule(name).register_forward_pre_hook(
                lambda _module, given, name=name: note(name, given[0])
            )
            hooks.callback(hook.remove)
        for batch in batches:
            network(batch)
    with torch.no_grad():
        for name, (total, squares, count) in sums.items():
            norm = network.get_submodule(name)
            assert isinstance(norm, _BatchNorm)
            mean = total / count
            variance = (squares / count - mean**2).clamp_min(0)
            _undo(norm, mean.float(), variance.float(), norm.bias.detach().clone())


def _undo(norm: _BatchNorm, mean: Tensor, variance: Tensor, shift: Tensor) -> None:
    """Let a batch norm with these statistics do nothing, in eval mode, but add `shift`."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(torch.sqrt(variance + norm.eps))
    norm.bias.copy_(mean + shift)


def _followed(network: nn.Module, layers: dict[str, _Layer], side: int) -> dict[str, str]:
    """Which convolution each batch norm follows, by what it is given when the network runs."""
    made: dict[int, tuple[str, Tensor]] = {}
    pairs: dict[str, str] = {}
    norms = {name: each for name, each in network.named_modules() if isinstance(each, _BatchNorm)}

    def note(norm: str, given: Tensor) -> None:
        if id(given) in made:
            pairs[norm] = made[id(given)][0]

    with ExitStack() as hooks, torch.no_grad():
        for name, layer in layers.items():
            hook = layer.register_forward_hook(
                lambda _module, _given, result, name=name: made.update({id(result): (name, result)})
            )
            hooks.callback(hook.remove)
        for name, norm in norms.items():
            hook = norm.register_forward_pre_hook(lambda _module, given, name=name: note(name, given[0]))
            hooks.callback(hook.remove)
        network.eval()(torch.zeros(1, 3, side, side))
    if lost := norms.keys() - pairs.keys():
        raise ModelError(
            f"a model directory of this architecture cannot be started from: {min(lost)} follows no"
            " convolution; begin with the file of its weights"
        )
    return pairs
