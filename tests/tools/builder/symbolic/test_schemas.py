"""What is declared here about operations is what torch declares."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch

from edge_agent.tools.builder.lowering.nodes import LAYERS, OTHERS
from edge_agent.tools.builder.symbolic.schemas import DECLARED

# `_convolution` had an argument less before torch 1.7; the others gather what torch has overloads for.
_GATHERED = {"_convolution", "div", "squeeze"}


@pytest.mark.parametrize("name", sorted(DECLARED.keys() - _GATHERED))
def test_names_and_defaults_are_those_of_an_overload(name: str) -> None:
    overloads = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
    ours = [(argument.name, _plain(argument.default)) for argument in DECLARED[name]]
    assert ours in [[(each.name, _default(each)) for each in overload.arguments] for overload in overloads]


def test_every_operation_that_is_lowered_is_declared() -> None:
    handled = {kind.removeprefix("aten::") for kind in (*LAYERS, *OTHERS) if kind.startswith("aten::")}
    assert handled - DECLARED.keys() == {"Int", "size", "to"}  # these are evaluated


def _default(argument: Any) -> object:
    return _plain(argument.default_value) if argument.has_default_value() else ...


def _plain(value: object) -> object:
    """A list of equal numbers is one of them: torch writes `[1, 1]` for two dimensions."""
    return value[0] if isinstance(value, list) and value and len({*value}) == 1 else value
