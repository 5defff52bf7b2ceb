"""Prepares the weights of a file for an architecture: others left out, one channel made three."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge_agent.errors import ModelError
from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.builder.heads import Head
from edge_agent.tools.builder.modules import Shape
from edge_agent.tools.builder.state_dict import State, check_numbers, read_state_dict, without_prefix

_AUXILIARY_HEADS = ("aux1.", "aux2.", "AuxLogits.")


def prepared(own: Mapping[str, Shape], path: Path, report: Report) -> State:
    """Read the weights in a file for a network whose weights are `own`, auxiliary heads left out.

    Raises ModelError where it is no such file, or they are no numbers.
    """
    state = without_prefix(read_state_dict(path), [key for key in own if not is_auxiliary(key)], path, report)
    state = {key: value for key, value in state.items() if not is_auxiliary(key)}
    check_numbers(state, path)
    return state


def is_auxiliary(key: str) -> bool:
    """Whether a weight belongs to a head that only training runs."""
    return key.startswith(_AUXILIARY_HEADS)


def take_one_channel(state: State, own: Mapping[str, Shape]) -> bool:
    """Let a network of one channel take three, and look at the first; says whether it was one."""
    first = next((key for key, shape in own.items() if len(shape) == 4 and shape[1] == 3), "")
    given = state.get(first)
    if given is None or given.shape != (own[first][0], 1, *own[first][2:]):
        return False
    wider = np.zeros(own[first], given.dtype)
    wider[:, :1] = given
    state[first] = wider
    return True


def class_count(arch: str, last: str, state: State) -> int:
    """Return how many classes the weights are for; `last` is the module that this depends on.

    Raises ModelError where they are not those of the architecture.
    """
    key = f"{last}.weight"
    if key in state and state[key].ndim > 0:
        return int(state[key].shape[0])
    root = f"{last.partition('.')[0]}."
    there = [printable(name, 80) for name in state if name.startswith(root)][:5]
    instead = f" but {', '.join(there)}, which no head of linear layers can be made of" if there else ""
    raise ModelError(
        f"the weights are not {arch}'s: they have no {key}{instead}; --arch must name the network"
        " that they were trained with"
    )


def rebuilt(head: Head) -> str:
    """Say which head was made, and what was assumed of it."""
    return f"rebuilt the head {head.name}" + f"; assumed: {head.assumed}" * bool(head.assumed)
