"""Lets a network that was trained on one channel take three."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_agent.model.plan import Conv2d, Tensor, activations_read
from edge_agent.tools.builder.lowering.plan_builder import LoweringError, PlanBuilder

_COLOURS = 3


def take_colour(builder: PlanBuilder) -> PlanBuilder:
    """Return `builder`, whose input has one channel, changed in place to take three and look at the first.

    Raises LoweringError where something else than convolutions reads the picture.
    """
    readers = [operation for operation in builder.operations if 0 in activations_read(operation)]
    _, height, width, channels = builder.tensors[0].shape
    if channels != 1 or not all(isinstance(one, Conv2d) and one.groups == 1 for one in readers):
        raise LoweringError("only convolutions over one channel can take three")
    builder.tensors[0] = Tensor((1, height, width, _COLOURS))
    for identifier in {one.filter for one in readers if isinstance(one, Conv2d)}:
        known = builder.constants[identifier]
        wider = np.zeros((*known.shape[:3], _COLOURS), np.float32)
        wider[..., :1] = known
        builder.constants[identifier] = wider
        builder.tensors[identifier] = replace(builder.tensors[identifier], shape=wider.shape)
    return builder
