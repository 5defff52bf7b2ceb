"""Finds a network's weights in a checkpoint; an error names the keys at fault."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_agent.system.text import listed, printable
from edge_agent.tools import Report
from edge_agent.tools.builder.archive.tensors import Quantised
from edge_agent.tools.builder.checkpoint import read_file

Tensor = NDArray[Any]
State = dict[str, Tensor]
"""Weights by their names: read-only, FP16, FP32 or FP64."""

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
    state: State = {_modern(key): value for key, value in found.items() if key != "n_averaged"}
    while prefix := next((p for p in _PREFIXES if state and all(key.startswith(p) for key in state)), ""):
        state = _below(prefix, state)
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
    broken = [key for key, value in state.items() if value.dtype.kind == "f" and not np.isfinite(value).all()]
    if broken:
        found = _listed("not finite (NaN or infinite)", broken)
        raise ModelError(
            f"{printable(path)}: weights that are {found}: the training went astray; use an earlier one"
        )


def check_fit(own: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor], path: Path) -> None:
    """Raise ModelError unless `state` has just the weights of a network, whose names and shapes are `own`."""
    misshapen = [
        f"{printable(key, 80)} is {state[key].shape}, expected {shape}"
        for key, shape in own.items()
        if key in state and state[key].shape != shape
    ]
    problems = [_listed("wrong shapes", misshapen)]
    if not misshapen:
        problems = [
            _listed("missing", _relevant(key for key in own if key not in state)),
            _listed("unexpected", _relevant(key for key in state if key not in own)),
        ]
    if any(problems):
        found = "; ".join(problem for problem in problems if problem)
        raise ModelError(
            f"{printable(path)}: the weights are not for this architecture: {found}; is --arch right?"
        )


def _unwrapped(path: Path, loaded: object) -> Mapping[str, Any]:
    for _ in range(_DEEPEST):
        if not isinstance(loaded, dict) or any(_is_tensor(value) for value in loaded.values()):
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


def _holds_weights(value: object, depth: int = _DEEPEST, seen: set[int] | None = None) -> bool:
    """Whether there are tensors in a dict, or in a dict of it, by names; each is looked into once."""
    seen = set() if seen is None else seen
    if not isinstance(value, dict) or depth == 0 or id(value) in seen:
        return False
    seen.add(id(value))
    return any(
        isinstance(key, str) and (_is_tensor(item) or _holds_weights(item, depth - 1, seen))
        for key, item in value.items()
    )


def _is_tensor(value: object) -> bool:
    return isinstance(value, np.ndarray | Quantised)


def _check_entries(path: Path, loaded: Mapping[Any, Any]) -> None:
    for key, value in loaded.items():
        if isinstance(key, str) and (_is_quantised(value) or any(part in key for part in _QUANTISED_KEYS)):
            raise ModelError(
                f"{printable(path)}: a quantised network ({printable(key, 80)}), whose weights have lost"
                " their digits: give the weights that it was made from; the model gets FP16 weights by itself"
            )
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, np.ndarray):
            raise ModelError(
                f"{printable(path)}: not a state dict: its entry {printable(repr(key), 80)} is of type"
                f" {type(value).__name__}, not a tensor"
            )


def _is_quantised(value: object) -> bool:
    return isinstance(value, Quantised) or (
        isinstance(value, np.ndarray) and value.ndim > 1 and value.dtype in (np.int8, np.uint8)
    )


def _modern(key: str) -> str:
    return _OLD_DENSENET.sub(r"\1\2.", key)


def _below(prefix: str, state: State) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _prefixes_of(key: str) -> Iterator[str]:
    """Every beginning of a dotted name, the empty one too: `a.b.c` has ``, `a.` and `a.b.`."""
    yield ""
    for found in re.finditer(r"\.", key):
        yield key[: found.end()]


def _relevant(keys: Iterable[str]) -> list[str]:
    """Leave out batch norm's step counter: only training uses it, and old files lack it."""
    return [key for key in keys if not key.endswith("num_batches_tracked")]


def _listed(what: str, items: list[str]) -> str:
    return f"{what}: {listed(items, _NAMES_SHOWN, 160)}" if items else ""
