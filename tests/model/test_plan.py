"""Plans: shapes, verification, and the file, for which nothing that it may hold is more than an error."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.model.plan import (
    UNBOUNDED,
    Activation,
    Arithmetic,
    Bounds,
    Conv2d,
    Plan,
    PlanError,
    Pool2d,
    Tensor,
    output_shape,
)
from edge_agent.model.plan_check import check_plan
from edge_agent.model.plan_file import MAX_PLAN_BYTES, decode_plan, encode_plan
from tests.model.mutations import mutated
from tests.model.plans import RandomPlan, plans, small_plan


@given(plans())
def test_a_plan_is_the_same_after_writing_and_reading(built: tuple[Plan, bytes]) -> None:
    plan, _ = built
    assert decode_plan(encode_plan(plan)) == plan


def test_a_plan_file_has_one_operation_to_a_line() -> None:
    plan, _ = small_plan()
    lines = encode_plan(plan).decode().splitlines()
    assert sum('"op":' in line for line in lines) == len(plan.operations)


@given(st.binary(max_size=200))
def test_bytes_that_are_not_a_plan_are_refused(data: bytes) -> None:
    with pytest.raises(PlanError):
        decode_plan(data)


@given(mutated(small_plan()[0]))
def test_a_changed_plan_is_refused_or_passes_the_whole_check(data: bytes) -> None:
    try:
        plan = decode_plan(data)
    except PlanError:
        return
    check_plan(plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plan: plan.update(format="other"), "not a plan"),
        (lambda plan: plan.update(version=2), "version 2"),
        (lambda plan: plan.update(precision="fp8"), "'fp8', not one of fp16, fp32"),
        (lambda plan: plan.pop("input"), "lacks input"),
        (lambda plan: plan.update(extra=1), "unknown key extra"),
        (lambda plan: plan.update(input=True), "input is True"),
        (lambda plan: plan.update(output=10**12), "output is 1000000000000"),
        (lambda plan: plan.update(input=999), "input is tensor 999"),
        (lambda plan: plan.update(input=1), "input is a constant"),
        (lambda plan: plan.update(output=0), "no operation makes the plan's output 0"),
        (lambda plan: plan.update(weights_bytes=64), "ends beyond the 64 bytes"),
        (lambda plan: plan.update(weights_bytes=0), "no weights"),
        (lambda plan: plan.update(tensors=[]), "0 tensors"),
        (lambda plan: plan.update(tensors=3), "tensors are not a list"),
        (lambda plan: plan["tensors"].append({"shape": [1, 2], "offset": None}), "made by no operation"),
        (lambda plan: plan["tensors"][1].update(offset=3), "not at a multiple of 64"),
        (lambda plan: plan["tensors"][1].update(shape=[]), "not a list of 1 to 4 numbers"),
        (lambda plan: plan["tensors"][1].update(shape=[0]), r"impossible shape \(0,\)"),
        (lambda plan: plan["tensors"][0].update(shape=[2, 9, 8, 3]), "not of one picture"),
        (lambda plan: plan["tensors"][3].update(shape=[1, 9, 8, 9]), r"declared is \(1, 9, 8, 9\)"),
        (lambda plan: plan["operations"][0].update(op="softmax"), "unknown type 'softmax'"),
        (lambda plan: plan["operations"][0].update(input=500), "names tensor 500"),
        (lambda plan: plan["operations"][0].update(input=6), "reads tensor 6, which nothing before it makes"),
        (lambda plan: plan["operations"][0].update(filter=0), "tensor 0, are not a constant"),
        (lambda plan: plan["operations"][0].update(output=1), "writes to tensor 1, a constant"),
        (lambda plan: plan["operations"][1].update(output=3), "already made"),
        (lambda plan: plan["operations"][0].update(stride=[0, 1]), "not 1 to"),
        (lambda plan: plan["operations"][0].update(stride=[1]), "not a list of 2 numbers"),
        (lambda plan: plan["operations"][0].update(padding=[3, 1, 1, 1]), "padding 3, 1 is not below"),
        (lambda plan: plan["operations"][0].update(groups=2), "2 groups do not divide"),
        (lambda plan: plan["operations"][0].update(bounds=[6, 0]), r"bounds \(6.0, 0.0\) are empty"),
        (lambda plan: plan["operations"][0].update(bounds=[1e39, None]), "not a number that a float32"),
        (lambda plan: plan["operations"][0].update(name="x" * 501), "at most 500 characters"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_plan_is_said(change: Callable[[Any], object], message: str) -> None:
    document = json.loads(encode_plan(small_plan()[0]))
    change(document)
    with pytest.raises(PlanError, match=message):
        decode_plan(json.dumps(document).encode())


def test_an_error_names_the_operation_and_the_module_that_it_came_from() -> None:
    document = json.loads(encode_plan(small_plan()[0]))
    document["operations"][2]["left"] = 900
    with pytest.raises(PlanError, match=r"operation 2 \(arithmetic of 'residual'\)"):
        decode_plan(json.dumps(document).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"format": "edge-agent-plan", "version": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'{"a": NaN}',
        b"\xff\xfe",
        b" " * (MAX_PLAN_BYTES + 1),
    ],
    ids=["deep", "deep value", "long number", "NaN", "not UTF-8", "large"],
)
def test_a_file_that_strains_the_parser_is_refused(data: bytes) -> None:
    with pytest.raises(PlanError):
        decode_plan(data)


def test_a_plan_that_would_need_too_much_memory_is_refused() -> None:
    builder = RandomPlan((1, 1 << 14, 1 << 14, 1))
    output = builder.conv2d(0, 1, (1, 1))
    with pytest.raises(PlanError, match="the limit is 1024"):
        check_plan(builder.build(output)[0])


def test_a_plan_that_would_take_too_long_is_refused() -> None:
    picture, filter_, bias = Tensor((1, 128, 64, 4096)), Tensor((4096, 1, 1, 4096), 0), Tensor((4096,), 0)
    operation = Conv2d("slow", 0, 1, 2, 3, (1, 1), (1, 1), (0, 0, 0, 0), 1)
    with pytest.raises(PlanError, match=r"needs 1.37e\+11 multiplications"):
        check_plan(Plan("fp16", 1 << 26, 0, 3, (picture, filter_, bias, picture), (operation,)))


def test_a_stride_that_does_not_fit_the_librarys_integers_is_refused() -> None:
    builder = RandomPlan((1, 4, 4, 1))
    with pytest.raises(PlanError, match="not 1 to"):
        builder.conv2d(0, 1, (1, 1), stride=((1 << 32) + 1, 1))


def test_encoding_refuses_what_decoding_would() -> None:
    plan, _ = small_plan()
    with pytest.raises(PlanError):
        encode_plan(replace(plan, output=0))


def test_an_operation_may_not_read_what_it_or_a_later_one_makes() -> None:
    tensors = tuple(Tensor((1, 2, 2, 1)) for _ in range(3))
    loop = (Arithmetic("a", "add", 0, 2, 1), Arithmetic("b", "add", 0, 1, 2))
    with pytest.raises(PlanError, match="reads tensor 2, which nothing before it makes"):
        check_plan(Plan("fp32", 64, 0, 2, tensors, loop))


def test_a_constant_may_not_be_the_left_operand() -> None:
    tensors = (Tensor((1, 2, 2, 1)), Tensor((1, 2, 2, 1), 0), Tensor((1, 2, 2, 1)))
    with pytest.raises(PlanError, match="reads tensor 1"):
        check_plan(Plan("fp32", 16, 0, 2, tensors, (Arithmetic("a", "add", 1, 1, 2),)))


def test_the_window_of_a_convolution_counts_dilation_and_each_side_of_the_padding() -> None:
    builder = RandomPlan((1, 11, 10, 2))
    output = builder.conv2d(0, 3, (3, 2), stride=(2, 3), dilation=(2, 1), padding=(1, 0, 2, 1))
    # height: 11 + 1 + 2 - (2 * 2 + 1) = 9, every second; width: 10 + 0 + 1 - 2 = 9, every third
    assert builder.tensors[output].shape == (1, 5, 4, 3)


def test_pooling_a_single_element_is_refused() -> None:
    with pytest.raises(PlanError, match="single element"):
        output_shape(Pool2d("pool", "max", 0, 0, (1, 1), (2, 2), (0, 0, 0, 0)), [Tensor((1, 4, 4, 1))])


def test_pooling_that_skips_elements_is_refused() -> None:
    with pytest.raises(PlanError, match="leaves out elements"):
        output_shape(Pool2d("pool", "max", 0, 0, (2, 2), (2, 3), (0, 0, 0, 0)), [Tensor((1, 4, 4, 1))])


def test_bounds_without_an_end_survive_the_file() -> None:
    tensors = (Tensor((1, 1, 1, 1)), Tensor((1, 1, 1, 1)))
    plan = Plan("fp32", 64, 0, 1, tensors, (Activation("relu", "clamp", 0, 1, Bounds(low=0.0)),))
    decoded = decode_plan(encode_plan(plan)).operations[0]
    assert isinstance(decoded, Activation)
    assert decoded.bounds == (0.0, math.inf)
    assert decoded.bounds != UNBOUNDED
