"""Damage to plan files that knows their structure, so that it gets beyond the JSON parser."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from edge_agent.model.plan import Plan
from edge_agent.model.plan_file import encode_plan

HOSTILE: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 7, 63, 64, 128, 255, 4096, 65535, 65536),
    *(2**20, 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**63, 2**64),
    *(0.5, -0.0, 1e38, 1e308, True, None, "", "fp16", "max", "conv2d"),
    *([], {}, [0], [1, 1], [2**31, 1], [1, 1, 1, 1], [0, 0, 0, 0], [1, 2**20, 2**20, 2**20], [1, 9, 8, 3]),
)


def mutated(plan: Plan) -> st.SearchStrategy[bytes]:
    """The files that come of one to three changes to a plan's."""
    return st.integers(0, 2**32).map(lambda seed: mutate(encode_plan(plan), random.Random(seed)))


def mutate(data: bytes, choices: random.Random) -> bytes:
    """Change one to three places of a plan file: to a hostile value, one from elsewhere, or one nearby."""
    document = json.loads(data)
    for _ in range(choices.randint(1, 3)):
        holder, key = choices.choice(list(_places(document)))
        match choices.randrange(5):
            case 0:
                holder[key] = copy.deepcopy(choices.choice(HOSTILE))  # or a later change would change it
            case 1 if isinstance(holder[key], int):
                holder[key] += choices.choice((-2, -1, 1, 2, 64))
            case 2 if isinstance(holder[key], int):
                holder[key] = choices.randrange(30)
            case 3:
                other, place = choices.choice(list(_places(document)))
                holder[key] = json.loads(json.dumps(other[place]))
            case 4 if isinstance(holder, list):
                del holder[key]
    return json.dumps(document).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document that holds a value: (container, key)."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
