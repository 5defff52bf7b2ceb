"""Gives each tensor its place in one block of memory; what is concatenated is made where it will lie."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from itertools import accumulate, count

from edge_agent.inference.arena import Block, plan_arena
from edge_agent.inference.native.steps import Kind, Step, picture_of
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import Id, Plan

_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Border:
    """Zeros around the network's picture, so that its first convolution needs no padding."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor is: `offset` and `stride` (from a pixel to the next) in floats."""

    offset: int
    height: int
    width: int
    channels: int
    stride: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The steps that are left, the place of each activation, and the size of the block in floats.

    Numbers beyond the plan's tensors are parts of a concatenation that are copied there.
    """

    steps: tuple[Step, ...]
    places: dict[Id, Place]
    floats: int
    border: Border
    features: Id | None
    """As of the plan."""


Shape = tuple[int, int, int]
"""Height, width, channels."""


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor inside another, from a channel on."""

    root: Id
    channel: int


def lay_out(plan: Plan, steps: Sequence[Step], lanes: int) -> Layout:
    """Plan the memory of the steps of a verified plan; pixels begin at a multiple of `lanes` floats."""
    shapes = {
        identifier: picture_of(tensor)
        for identifier, tensor in enumerate(plan.tensors)
        if tensor.offset is None
    }
    border = _border(plan.input, steps, shapes)
    if border != Border():
        height, width, channels = shapes[plan.input]
        shapes[plan.input] = (
            height + border.top + border.bottom,
            width + border.left + border.right,
            channels,
        )
        steps = [_without_padding(step) if step.input == plan.input else step for step in steps]
    concatenation = _Concatenation(shapes, count(len(plan.tensors)))
    steps = concatenation.place(steps)
    lives = _lives(plan, steps, concatenation)
    # The picture is dense: then a row of its window is one run of numbers.
    strides = {
        root: shapes[root][2] if root == plan.input else -(-shapes[root][2] // lanes) * lanes
        for root in lives
    }
    arena = plan_arena(
        [
            Block(shapes[root][0] * shapes[root][1] * strides[root] * _FLOAT_BYTES, first, last)
            for root, (first, last) in lives.items()
        ]
    )
    offsets = dict(zip(lives, arena.offsets, strict=True))
    places = {}
    for identifier in _activations(plan, steps, shapes):
        view = concatenation.view(identifier)
        offset = offsets[view.root] // _FLOAT_BYTES + view.channel
        places[identifier] = Place(offset, *shapes[identifier], strides[view.root])
    return Layout(tuple(steps), places, arena.bytes // _FLOAT_BYTES, border, plan.features)


def _activations(plan: Plan, steps: Iterable[Step], shapes: Mapping[Id, Shape]) -> list[Id]:
    named = {plan.input, plan.output} | {i for step in steps for i in (*step.reads, step.output)}
    return sorted(named & shapes.keys())


def _lives(plan: Plan, steps: Sequence[Step], concatenation: _Concatenation) -> dict[Id, tuple[int, int]]:
    """The first and the last step in which each block of memory is needed."""
    lives: dict[Id, tuple[int, int]] = {}

    def needed(identifier: Id, place: int) -> None:
        root = concatenation.view(identifier).root
        first, last = lives.get(root, (place, place))
        lives[root] = (min(first, place), max(last, place))

    needed(plan.input, 0)
    for place, step in enumerate(steps):
        for identifier in (*step.reads, step.output):
            if identifier >= len(plan.tensors) or plan.tensors[identifier].offset is None:
                needed(identifier, place)
    needed(plan.output, len(steps))
    if plan.features is not None:
        needed(plan.features, len(steps))
    return lives


def _border(picture: Id, steps: Sequence[Step], shapes: Mapping[Id, Shape]) -> Border:
    """What the one convolution that reads the picture needs around it."""
    readers = [step for step in steps if picture in step.reads]
    if len(readers) != 1 or readers[0].kind is not Kind.DIRECT or readers[0].groups != 1:
        return Border()
    step, sides = readers[0], []
    for axis, kernel, stride, dilation, begin in zip((0, 1), *astuple(step.window), strict=True):
        reach = (shapes[step.output][axis] - 1) * stride + (kernel - 1) * dilation + 1 - begin
        sides.append((begin, max(0, reach - shapes[picture][axis])))
    (top, bottom), (left, right) = sides
    return Border(top, left, bottom, right)


def _without_padding(step: Step) -> Step:
    return replace(step, window=replace(step.window, begin=(0, 0)))


class _Concatenation:
    """Lets what is concatenated be made where it will lie; where that cannot be, it is copied."""

    def __init__(self, shapes: dict[Id, Shape], unused: Iterator[Id]) -> None:
        self._shapes = shapes
        self._unused = unused
        self._views: dict[Id, _View] = {}

    def view(self, identifier: Id) -> _View:
        return self._views.get(identifier, _View(identifier, 0))

    def place(self, steps: Sequence[Step]) -> list[Step]:
        """Return the steps with copies, or nothing, instead of concatenations.

        From the last to the first, since the result of one may be a part of a later one.
        """
        made = {step.output for step in steps}
        placed: list[Step] = []
        for step in reversed(steps):
            placed += self._copies(step, made) if step.kind is Kind.CONCAT else [step]
        return placed[::-1]

    def _copies(self, step: Step, made: Collection[Id]) -> list[Step]:
        parts = self._parts(step)
        if step.output not in self._views and (whole := self._already_there(parts)) is not None:
            self._views[step.output] = whole
            return []
        base, copies = self.view(step.output), []
        for part, channel in parts:
            wanted = _View(base.root, base.channel + channel)
            if part in made and part not in self._views:
                self._views[part] = wanted
            elif self._views.get(part) != wanted:
                copies.append(self._copy(step, part, wanted))
        return copies

    def _parts(self, step: Step) -> list[tuple[Id, int]]:
        begins = accumulate((self._shapes[part][2] for part in step.inputs), initial=0)
        return list(zip(step.inputs, begins, strict=False))

    def _already_there(self, parts: Sequence[tuple[Id, int]]) -> _View | None:
        """Where the parts lie one after the other, as in a network that concatenates all that it has made."""
        first = self._views.get(parts[0][0])
        if first is None:
            return None
        wanted = (_View(first.root, first.channel + channel) for _, channel in parts)
        views = (self._views.get(part) for part, _ in parts)
        return first if all(a == b for a, b in zip(views, wanted, strict=True)) else None

    def _copy(self, step: Step, part: Id, to: _View) -> Step:
        copied = next(self._unused)
        self._shapes[copied] = self._shapes[part]
        self._views[copied] = to
        return Step(Kind.APPLY, step.name, (part,), copied)
