"""The compiled kernels against a plain reference: all that this CPU can run, any shape, any threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.inference.native.library import VARIANTS, Library, Variant, open_library
from edge_agent.model.plan import (
    UNBOUNDED,
    Activation,
    Arithmetic,
    Bounds,
    Concat,
    GlobalAveragePool,
    Plan,
    Pool2d,
    Precision,
)
from edge_agent.tools.builder.reference import evaluate
from tests.inference.native.kernels import EFFORT, Options, kernels, logits_of, variants_here
from tests.installed import needs_native
from tests.model.plans import RandomPlan, picture_for, plans, small_plan

TOLERANCE: dict[Precision, float] = {"fp32": 1e-5, "fp16": 1e-2}
"""By arithmetic, relative to the largest value on the way to the result."""
LARGEST_TRANSFORMED = 65504.0 / 4
"""A tile of Winograd's F(2x2) is transformed into sums of four values, in FP16."""
pytestmark = needs_native


@pytest.fixture(scope="module", params=variants_here(), ids=lambda variant: variant.name)
def library(request: pytest.FixtureRequest) -> Library:
    variant: Variant = request.param
    return open_library(variant.name)


def assert_agrees(
    plan: Plan, blob: bytes, library: Library, answer: NDArray[np.float32], picture: NDArray[np.float32]
) -> None:
    expected = evaluate(plan, blob, picture)
    arithmetic = library.variant.arithmetic
    if arithmetic == "fp16" and expected.largest > LARGEST_TRANSFORMED:
        return
    tolerance = TOLERANCE[arithmetic] * expected.largest
    np.testing.assert_allclose(answer, expected.output, rtol=0, atol=tolerance)


def check(
    plan: Plan,
    blob: bytes,
    library: Library,
    threads: int = 2,
    shared_l2_bytes: int = 0,
    streaming: bool = False,
) -> NDArray[np.float32]:
    picture = picture_for(plan)
    answer = logits_of(
        plan, blob, picture, library, threads=threads, shared_l2_bytes=shared_l2_bytes, streaming=streaming
    )
    assert_agrees(plan, blob, library, answer, picture)
    return answer


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_every_type_of_operation_computes_what_it_should(library: Library, precision: Precision) -> None:
    check(*small_plan(precision), library)


@settings(max_examples=120 * EFFORT, deadline=None)
@given(
    plans(),
    st.sampled_from(variants_here() or VARIANTS),
    st.integers(1, 7),
    st.sampled_from([0, 0, 1, 50_000, 1 << 20]),
    st.booleans(),
)
def test_any_valid_plan_computes_what_it_should_and_the_same_whatever_the_threads(
    built: tuple[Plan, bytes], variant: Variant, threads: int, shared_l2_bytes: int, streaming: bool
) -> None:
    library = open_library(variant.name)
    answer = check(*built, library, threads, shared_l2_bytes, streaming)
    assert np.array_equal(answer, check(*built, library, threads=1, shared_l2_bytes=shared_l2_bytes))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Plan, bytes]:
    """One convolution with a residual, wider than the vectors of any CPU."""
    channels, outputs = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    shape = (1, draw(st.integers(5, 21)), draw(st.integers(5, 21)), channels)
    builder = RandomPlan(shape, draw(st.sampled_from(("fp16", "fp32"))), draw(st.integers(0, 99)))
    first = builder.conv2d(0, channels, (1, 1))
    kernel = draw(st.sampled_from([(3, 3), (3, 3), (1, 1), (5, 5), (2, 3)]))
    top, right, bottom, left = (draw(st.integers(0, kernel[axis % 2] - 1)) for axis in range(4))
    sides = (top, right, bottom, left)
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2)]))
    result = builder.conv2d(first, outputs, kernel, stride=stride, padding=sides)
    other = builder.conv2d(first, outputs, kernel, stride=stride, padding=sides)
    total = builder.add(
        Arithmetic("sum", "add", result, other, 0, draw(st.sampled_from([UNBOUNDED, Bounds(0)])))
    )
    return builder.build(builder.conv2d(total, 3, (1, 1)))


@settings(max_examples=60 * EFFORT, deadline=None)
@given(
    convolutions(),
    st.sampled_from(variants_here() or VARIANTS),
    st.integers(1, 5),
    st.sampled_from([0, 9000, 200_000]),
)
def test_convolutions_of_any_width_compute_what_they_should(
    built: tuple[Plan, bytes], variant: Variant, threads: int, shared_l2_bytes: int
) -> None:
    check(*built, open_library(variant.name), threads, shared_l2_bytes)


@settings(max_examples=60 * EFFORT, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 19),
    st.sampled_from([3, 5, 7]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(variants_here() or VARIANTS),
    st.integers(1, 5),
)
def test_depthwise_convolutions_compute_what_they_should(
    channels: int, size: int, kernel: int, stride: int, variant: Variant, threads: int
) -> None:
    builder = RandomPlan((1, size, size + 1, channels), seed=channels)
    half = kernel // 2
    result = builder.conv2d(
        0,
        channels,
        (kernel, kernel),
        stride=(stride, stride),
        padding=(half, half, half, half),
        groups=channels,
    )
    swished = builder.add(Activation("swish", "hardswish", result, 0))
    check(*builder.build(swished), open_library(variant.name), threads)


def test_a_block_of_squeeze_and_excitation_computes_what_it_should(library: Library) -> None:
    builder = RandomPlan((1, 14, 14, 40), "fp16")
    swished = builder.add(Activation("swish", "hardswish", builder.conv2d(0, 72, (1, 1)), 0))
    mean = builder.add(GlobalAveragePool("mean", swished, 0))
    squeezed = builder.conv2d(mean, 24, (1, 1), bounds=Bounds(0.0))
    gate = builder.conv2d(squeezed, 72, (1, 1), bounds=Bounds(0.0, 1.0))
    scaled = builder.add(Arithmetic("scale", "multiply", swished, gate, 0))
    projected = builder.conv2d(scaled, 40, (1, 1))
    check(*builder.build(builder.add(Arithmetic("sum", "add", projected, 0, 0))), library, threads=3)


def test_silu_is_one_function(library: Library) -> None:
    builder = RandomPlan((1, 9, 9, 5))
    made = builder.conv2d(0, 17)
    gate = builder.add(Activation("gate", "sigmoid", made, 0))
    check(*builder.build(builder.add(Arithmetic("silu", "multiply", made, gate, 0))), library)


def test_what_is_concatenated_again_and_again_computes_what_it_should(library: Library) -> None:
    builder = RandomPlan((1, 8, 8, 6))
    made = [builder.conv2d(0, 7)]
    for outputs in (5, 19, 3):
        joined = builder.add(Concat("cat", tuple(made), 0)) if len(made) > 1 else made[0]
        made.append(builder.conv2d(joined, outputs, padding=(1, 1, 1, 1)))
    joined = builder.add(Concat("cat", tuple(made), 0))
    check(
        *builder.build(builder.add(Pool2d("pool", "average", joined, 0, (2, 2), (2, 2), (0, 0, 0, 0)))),
        library,
    )


@pytest.mark.parametrize("threads", [2, 3, 5, 8])
def test_the_number_of_threads_does_not_change_a_bit(library: Library, threads: int) -> None:
    builder = RandomPlan((1, 40, 37, 24), "fp16")
    built = builder.build(builder.conv2d(builder.conv2d(0, 48, padding=(1, 1, 1, 1)), 33, stride=(2, 2)))
    picture = picture_for(built[0])
    alone = logits_of(*built, picture, library)
    assert np.array_equal(alone, logits_of(*built, picture, library, threads=threads))


def test_features_are_what_the_last_layer_reads(library: Library) -> None:
    builder = RandomPlan((1, 8, 8, 3))
    vector = builder.add(GlobalAveragePool("mean", builder.conv2d(0, 21), 0))
    plan, blob = builder.build(builder.linear(vector, 4))
    picture = picture_for(plan)
    with kernels(plan, blob, library, Options(2, 50)) as made:
        made.run(picture)
        whole, logits = made.features.copy(), made.logits.copy()
    cut = replace(plan, output=vector, operations=plan.operations[:-1])
    assert_agrees(cut, blob, library, whole, picture)
    assert_agrees(plan, blob, library, logits, picture)


def test_a_value_that_is_not_a_number_is_not_hidden_by_bounds(library: Library) -> None:
    builder = RandomPlan((1, 5, 5, 3))
    plan, blob = builder.build(
        builder.conv2d(builder.conv2d(0, 20, bounds=Bounds(0.0)), 20, bounds=Bounds(0.0))
    )
    picture = np.full(plan.input_shape, np.nan, np.float32)
    assert np.isnan(logits_of(plan, blob, picture, library)).any()


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (0, 0)])
def test_a_sum_that_leaves_the_range_of_fp16_on_its_way_is_not_hidden_by_bounds(
    library: Library, kernel: int, stride: int
) -> None:
    """Every sum is far below zero, after sums far above 65504. Without a kernel: fully connected."""
    builder = RandomPlan((1, 9, 9, 16), "fp16")
    relu6 = Bounds(0.0, 6.0)
    if kernel:
        first = builder.conv2d(0, 20, (kernel, kernel), stride=(stride, stride), bounds=relu6)
        last = builder.conv2d(first, 20, (1, 1))
    else:
        last = builder.linear(builder.linear(0, 20, relu6), 20)
    ones = np.ones(20 * 16 * (kernel or 9) ** 2, "<f2").tobytes()
    builder.blob[: len(ones)] = ones  # the weights of the first
    plan, blob = builder.build(last)
    picture = np.empty(plan.input_shape, np.float32)
    picture[..., :8], picture[..., 8:] = 2e4, -3e4
    answer = logits_of(plan, blob, picture, library)
    if library.variant.arithmetic == "fp16":
        assert np.isnan(answer).all()
    else:
        assert_agrees(plan, blob, library, answer, picture)
