"""The order of the packed weights, against what the kernels' sources say of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.inference.native.packing import ALIGNMENT, Packing, Parcel, pack, plan_packing
from edge_agent.inference.native.steps import Kind, Step, make_steps
from edge_agent.model.plan import Arithmetic, Conv2d, Plan
from tests.model.plans import DTYPES, RandomPlan, constants_of, plans

Built = tuple[Plan, bytes]
LANES = st.sampled_from([8, 16, 32])


def packed(built: Built, lanes: int) -> tuple[list[Step], Packing, bytes]:
    """The steps of a plan, where their weights are, and the packed file's contents."""
    plan, blob = built
    steps = make_steps(plan)
    packing = plan_packing(plan, steps, lanes)
    contents = bytearray(packing.bytes)
    for parcel in packing.parcels:
        joined = b"".join(piece.tobytes() for piece in pack(parcel, _values(parcel, plan, blob)))
        assert len(joined) == parcel.bytes
        contents[parcel.offset : parcel.offset + len(joined)] = joined
    return steps, packing, bytes(contents)


def _values(parcel: Parcel, plan: Plan, blob: bytes) -> NDArray[Any]:
    tensor = parcel.tensor
    values = np.frombuffer(blob, DTYPES[plan.precision], tensor.elements, tensor.offset or 0)
    return values.reshape(tensor.shape)


def filter_as_the_kernel_reads_it(step: Step, filter_: NDArray[Any], lanes: int) -> NDArray[Any]:
    """Number by number, padded with zeros."""
    outputs = filter_.shape[0]
    numbers = filter_.reshape(outputs, -1)
    taps = step.window.kernel[0] * step.window.kernel[1]
    if step.kind is Kind.DEPTHWISE:
        expected = np.zeros((taps, -(-outputs // lanes) * lanes), filter_.dtype)
        for tap, output in itertools.product(range(taps), range(outputs)):
            expected[tap, output] = numbers[output, tap]
        return expected
    a_group = outputs // step.groups
    panels = -(-a_group // lanes)
    expected = np.zeros((step.groups, panels, numbers.shape[1], lanes), filter_.dtype)
    for output, number in itertools.product(range(outputs), range(numbers.shape[1])):
        group, lane = divmod(output, a_group)
        tap, channel = divmod(number, filter_.shape[-1])
        place = channel * taps + tap if step.kind is Kind.WINOGRAD else number
        expected[group, lane // lanes, place, lane % lanes] = numbers[output, number]
    return expected


def assert_packed_as_read(built: Built, lanes: int) -> None:
    plan, blob = built
    steps, packing, contents = packed(built, lanes)
    values = constants_of(plan, blob)
    for step in steps:
        if step.filter is None or step.bias is None:
            continue
        filter_at, bias_at = packing.weights_of(step)
        filter_ = values[step.filter].astype(DTYPES[plan.precision])
        expected = filter_as_the_kernel_reads_it(step, filter_, lanes)
        assert contents[filter_at : filter_at + expected.nbytes] == expected.tobytes()
        groups = 1 if step.kind is Kind.DEPTHWISE else step.groups
        bias = values[step.bias].reshape(groups, -1)
        padded = np.pad(bias, ((0, 0), (0, -bias.shape[1] % lanes)))
        assert contents[bias_at : bias_at + padded.nbytes] == padded.tobytes()


@settings(max_examples=60, deadline=None)
@given(plans(), LANES)
def test_weights_of_any_plan_lie_as_their_kernels_read_them(built: Built, lanes: int) -> None:
    assert_packed_as_read(built, lanes)


@settings(max_examples=60, deadline=None)
@given(plans(), LANES)
def test_arrays_are_aligned_and_do_not_overlap(built: Built, lanes: int) -> None:
    _, packing, _ = packed(built, lanes)
    end = 0
    for parcel in packing.parcels:
        assert parcel.offset % ALIGNMENT == 0
        assert parcel.offset >= end
        end = parcel.offset + parcel.bytes
    assert end <= packing.bytes


@pytest.mark.parametrize("outputs", [16, 17, 70])
@pytest.mark.parametrize("groups", [1, 2])
def test_wide_layers_lie_as_their_kernels_read_them(outputs: int, groups: int) -> None:
    builder = RandomPlan((1, 5, 6, 34), "fp16")
    first = builder.conv2d(0, outputs * groups, groups=groups)
    assert_packed_as_read(builder.build(builder.linear(first, 19)), 16)


def test_a_layer_is_packed_in_pieces_that_join(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = RandomPlan((1, 5, 5, 16), "fp16")
    built = builder.build(builder.conv2d(0, 77))
    whole = packed(built, 8)
    monkeypatch.setattr("edge_agent.inference.native.packing._CHUNK_ELEMENTS", 2500)
    assert len(list(pack(whole[1].parcels[0], _values(whole[1].parcels[0], *built)))) > 3
    assert packed(built, 8)[2] == whole[2]


def test_what_several_layers_share_is_packed_once() -> None:
    builder = RandomPlan((1, 6, 6, 4))
    first = builder.conv2d(0, 4, padding=(1, 1, 1, 1))
    shared = builder.operations[-1]
    assert isinstance(shared, Conv2d)
    second = builder.add(replace(shared, name="again", input=first))
    numbers = builder.constant((4,))
    total = builder.add(Arithmetic("plus", "add", second, numbers, 0))
    again = builder.add(Arithmetic("plus", "add", total, numbers, 0))
    plan, _ = builder.build(again)
    assert len(plan_packing(plan, make_steps(plan), 8).parcels) == 3


def test_another_kernel_for_a_layer_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = RandomPlan((1, 6, 6, 16))
    plan, _ = builder.build(builder.conv2d(0, 16))
    winograd = plan_packing(plan, make_steps(plan), 8)
    monkeypatch.setattr("edge_agent.inference.native.steps.WINOGRAD_FROM_CHANNELS", 32)
    direct = plan_packing(plan, make_steps(plan), 8)
    assert direct.bytes == winograd.bytes
    assert direct.digest != winograd.digest
