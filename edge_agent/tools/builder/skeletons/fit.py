"""Puts the weights of a file into a skeleton: by name, its class count and its head adapted to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.tools import Report
from edge_agent.tools.builder.archive.contents import Archive, ScriptObject
from edge_agent.tools.builder.heads import find_head
from edge_agent.tools.builder.modules import Shape
from edge_agent.tools.builder.skeletons.new_head import HEAD_MODULE, make_head
from edge_agent.tools.builder.skeletons.skeleton import Part, Skeleton
from edge_agent.tools.builder.state_dict import State, check_fit
from edge_agent.tools.builder.weights import class_count, prepared, rebuilt, take_one_channel


@dataclass(frozen=True, slots=True)
class Fitted:
    """An architecture's network with the weights of a file."""

    archive: Archive
    has_one_channel: bool
    """Whether it was trained on one channel; it takes three here and looks at the first."""


def fit(skeleton: Skeleton, path: Path, report: Report) -> Fitted:
    """Make the network that the weights in a file are for: with their number of classes, and their head.

    What has to be assumed is reported. Raises ModelError where the weights are not those of the architecture.
    """
    own = skeleton.root.module()
    shapes = own.state()
    state = prepared(shapes, path, report)
    has_one_channel = take_one_channel(state, shapes)
    root, code = skeleton.root, dict(skeleton.code)
    if has_one_channel and skeleton.plain_root is not None:
        root = skeleton.plain_root  # its input transform is for three channels
    if head := find_head(own, skeleton.last, state):
        replaced, code[HEAD_MODULE] = make_head(head, root, state)
        root = root.with_part(head.name, replaced)
        report(rebuilt(head))
        check_fit(root.module().state(), state, path)
    else:
        classes = class_count(skeleton.name, skeleton.last, state)
        check_fit(_for_classes(shapes, skeleton.last, classes), state, path)
    constants = tuple(np.array(value, kind) for kind, value in skeleton.constants)
    return Fitted(Archive(path, _filled(root, "", state), constants, code), has_one_channel)


def _for_classes(own: Mapping[str, Shape], last: str, classes: int) -> dict[str, Shape]:
    """The shapes of the network's weights for another number of classes."""
    changed = {key: (classes, *own[key][1:]) for key in (f"{last}.weight", f"{last}.bias") if key in own}
    return {**own, **changed}


def _filled(part: Part, prefix: str, state: State) -> ScriptObject:
    """The object of a part, with the weights below `prefix`; what only training uses may be missing."""
    weights = {
        name: state[prefix + name] if prefix + name in state else np.zeros(shape, np.float32)
        for name, shape in part.weights.items()
    }
    parts = {name: _filled(inner, f"{prefix}{name}.", state) for name, inner in part.parts.items()}
    return ScriptObject(part.class_name, {"training": False, **part.values, **weights, **parts})
