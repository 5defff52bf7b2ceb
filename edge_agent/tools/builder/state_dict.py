"""Reads a network's weights from a file and loads them into it, with errors that name the keys at fault."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Training scripts save more than the weights, under one of these.
_WRAPPERS = ("state_dict", "model", "model_state_dict")
_DATA_PARALLEL_PREFIX = "module."
# Names that torchvision's DenseNet weights were published with, before modules could not have dots.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
_NAMES_SHOWN = 5


def read_state_dict(path: Path) -> OrderedDict[str, Tensor]:
    """Read a state dict that `torch.save` wrote, without running any code that the file may hold.

    Also reads checkpoints that keep it under `state_dict` or `model`, and removes DataParallel's prefix.
    Raises ModelError when the file is not that.
    """
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: holds more than tensors, and is not loaded, since it could run code; save the weights"
            f" alone with torch.save(model.state_dict(), FILE) ({_first_line(error)})"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise ModelError(
            f"{path}: not a file of weights that torch can read: {_first_line(error)}"
        ) from error
    return _modernised(_unwrapped(path, loaded))


def load_into(network: nn.Module, state: OrderedDict[str, Tensor], path: Path) -> None:
    """Put the weights of `path` into `network`. Raises ModelError, which names the keys that do not fit."""
    own = network.state_dict()
    misshapen = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(tensor.shape)}"
        for key, tensor in own.items()
        if key in state and state[key].shape != tensor.shape
    ]
    problems = [_listed("wrong shapes", misshapen)]
    if not misshapen:
        if not hasattr(state, "_metadata"):
            state._metadata = own._metadata  # type: ignore[attr-defined]  # modules read their version from it
        try:
            result = network.load_state_dict(state, strict=False)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{path}: the weights do not fit the network: {error}") from error
        problems = [
            _listed("missing", _relevant(result.missing_keys)),
            _listed("unexpected", _relevant(result.unexpected_keys)),
        ]
    if any(problems):
        found = "; ".join(problem for problem in problems if problem)
        raise ModelError(f"{path}: the weights are not for this architecture: {found}; is --arch right?")


def _unwrapped(path: Path, loaded: object) -> OrderedDict[str, Tensor]:
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not loaded:
        raise ModelError(
            f"{path}: not a state dict but {type(loaded).__name__}; save one with"
            " torch.save(model.state_dict(), FILE)"
        )
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ModelError(
                f"{path}: not a state dict: its entry {key!r} is of type {type(value).__name__}, not a tensor"
            )
    state: OrderedDict[str, Tensor] = OrderedDict(loaded)
    if hasattr(loaded, "_metadata"):
        state._metadata = loaded._metadata  # type: ignore[attr-defined]
    return state


def _modernised(state: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
    for key in list(state):
        name = _OLD_DENSENET.sub(r"\1\2.", key.removeprefix(_DATA_PARALLEL_PREFIX))
        state[name] = state.pop(key)
    return state


def _relevant(keys: Iterable[str]) -> list[str]:
    """Leave out batch norm's step counter: only training uses it, and old files lack it."""
    return [key for key in keys if not key.endswith("num_batches_tracked")]


def _listed(what: str, items: list[str]) -> str:
    if not items:
        return ""
    more = f" and {len(items) - _NAMES_SHOWN} more" if len(items) > _NAMES_SHOWN else ""
    return f"{what}: {', '.join(items[:_NAMES_SHOWN])}{more}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
