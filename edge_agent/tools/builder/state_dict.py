"""Finds a network's weights in a checkpoint and loads them into it; an error names the keys at fault."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import ModelError
from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.builder.checkpoint import read_file

if TYPE_CHECKING:
    from torch import Tensor, nn

State = OrderedDict[str, "Tensor"]

# Training programs save more than the weights, which are then under one of these: the first that is there.
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "model_state",
    "net_state_dict",
    "weights",
    "params",
    "module",
    "state_dict_ema",
    "model_ema",
    "ema",
)
_DEEPEST = 4
# Put before every name by DataParallel, and by torch.compile.
_PREFIXES = ("module.", "_orig_mod.")
# Names that torchvision's DenseNet weights were published with, before modules could not have dots.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
_QUANTISED_KEYS = (
    "_packed_params",
    ".zero_point",
    "weight_zero_point",
    "weight_fake_quant",
    "activation_post_process",
)
_NAMES_SHOWN = 5


def read_state_dict(path: Path) -> State:
    """Read the state dict in a file of PyTorch, without running any code that a checkpoint may hold.

    Also reads checkpoints that keep it under a key, and removes DataParallel's prefix. Raises ModelError when
    the file is not that, or its weights are quantised.
    """
    found = _unwrapped(path, read_file(path))
    state: State = OrderedDict((_modern(key), value) for key, value in found.items() if key != "n_averaged")
    while prefix := next((p for p in _PREFIXES if state and all(key.startswith(p) for key in state)), ""):
        state = _below(prefix, state)
    if hasattr(found, "_metadata"):
        state._metadata = found._metadata  # type: ignore[attr-defined]
    return state


def without_prefix(state: State, own: Collection[str], path: Path, report: Report) -> State:
    """Return the weights of the network whose keys are `own`, where a larger module holds it by some name.

    What is not below that name is left out, and reported. Raises ModelError where the file holds the network
    more than once.
    """
    names = frozenset(own)
    found = Counter(prefix for key in state for prefix in _prefixes_of(key) if key[len(prefix) :] in names)
    best = found.most_common(2)
    if not best or not best[0][0] or best[0][1] < len(names) / 2:
        return state
    if len(best) > 1 and best[1][1] == best[0][1]:
        both = " and ".join(sorted(printable(prefix.rstrip("."), 60) or "no name" for prefix, _ in best))
        raise ModelError(
            f"{printable(path)}: holds the network more than once, as {both}; save the one to use"
        )
    prefix = best[0][0]
    others = [key for key in state if not key.startswith(prefix)]
    if others:
        report(_listed(f"left out, since they are not below {printable(prefix, 60)}", others))
    return _below(prefix, state)


def check_numbers(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise ModelError, which names them, when weights are not finite numbers."""
    broken = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        found = _listed("not finite (NaN or infinite)", broken)
        raise ModelError(
            f"{printable(path)}: weights that are {found}: the training went astray; use an earlier one"
        )


def load_into(network: nn.Module, state: State, path: Path) -> None:
    """Put the weights of `path` into `network`. Raises ModelError, which names the keys that do not fit."""
    own = network.state_dict()
    misshapen = [
        f"{printable(key, 80)} is {tuple(state[key].shape)}, expected {tuple(tensor.shape)}"
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
            reason = printable(str(error), 300)
            raise ModelError(f"{printable(path)}: the weights do not fit the network: {reason}") from error
        problems = [
            _listed("missing", _relevant(result.missing_keys)),
            _listed("unexpected", _relevant(result.unexpected_keys)),
        ]
    if any(problems):
        found = "; ".join(problem for problem in problems if problem)
        raise ModelError(
            f"{printable(path)}: the weights are not for this architecture: {found}; is --arch right?"
        )


def _unwrapped(path: Path, loaded: object) -> Mapping[str, Any]:
    import torch

    for _ in range(_DEEPEST):
        if not isinstance(loaded, dict) or any(isinstance(value, torch.Tensor) for value in loaded.values()):
            break
        inner = [value for key in _WRAPPERS if _holds_weights(value := loaded.get(key))]
        loaded = inner[0] if inner else _only_one(path, loaded)
    if not isinstance(loaded, dict) or not loaded:
        raise ModelError(
            f"{printable(path)}: not a state dict but {type(loaded).__name__}; save one with"
            " torch.save(model.state_dict(), FILE)"
        )
    _check_entries(path, loaded)
    return loaded


def _only_one(path: Path, loaded: dict[Any, Any]) -> dict[Any, Any]:
    """The one set of weights under keys of any names; `loaded` itself where there is none."""
    inner = {key: value for key, value in loaded.items() if isinstance(key, str) and _holds_weights(value)}
    inner = {key: value for key, value in inner.items() if not key.startswith(("optim", "sched", "scaler"))}
    if len(inner) > 1:
        raise ModelError(
            f"{printable(path)}: {_listed('holds several sets of weights', list(inner))}; save the one to use"
            " alone with torch.save(model.state_dict(), FILE)"
        )
    return next(iter(inner.values()), loaded)


def _holds_weights(value: object, depth: int = _DEEPEST) -> bool:
    """Whether there are tensors in a dict, or in a dict of it, by names."""
    import torch

    if not isinstance(value, dict) or depth == 0:
        return False
    return any(
        isinstance(key, str) and (isinstance(item, torch.Tensor) or _holds_weights(item, depth - 1))
        for key, item in value.items()
    )


def _check_entries(path: Path, loaded: Mapping[Any, Any]) -> None:
    import torch

    for key, value in loaded.items():
        if isinstance(key, str) and (_is_quantised(value) or any(part in key for part in _QUANTISED_KEYS)):
            raise ModelError(
                f"{printable(path)}: a quantised network ({printable(key, 80)}), whose weights have lost"
                " their digits: give the weights that it was made from; the model gets FP16 weights by itself"
            )
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ModelError(
                f"{printable(path)}: not a state dict: its entry {printable(repr(key), 80)} is of type"
                f" {type(value).__name__}, not a tensor"
            )


def _is_quantised(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and (
        value.is_quantized or (value.ndim > 1 and value.dtype in (torch.int8, torch.uint8))
    )


def _modern(key: str) -> str:
    return _OLD_DENSENET.sub(r"\1\2.", key)


def _below(prefix: str, state: State) -> State:
    return OrderedDict(
        (key.removeprefix(prefix), value) for key, value in state.items() if key.startswith(prefix)
    )


def _prefixes_of(key: str) -> Iterator[str]:
    """Every beginning of a dotted name, the empty one too: `a.b.c` has ``, `a.` and `a.b.`."""
    yield ""
    for found in re.finditer(r"\.", key):
        yield key[: found.end()]


def _relevant(keys: Iterable[str]) -> list[str]:
    """Leave out batch norm's step counter: only training uses it, and old files lack it."""
    return [key for key in keys if not key.endswith("num_batches_tracked")]


def _listed(what: str, items: list[str]) -> str:
    if not items:
        return ""
    more = f" and {len(items) - _NAMES_SHOWN} more" if len(items) > _NAMES_SHOWN else ""
    return f"{what}: {', '.join(printable(item, 160) for item in items[:_NAMES_SHOWN])}{more}"
