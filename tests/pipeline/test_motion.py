"""The motion gate: what it must never miss, and what it must never take for motion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.config.schema import MotionConfig
from edge_agent.pipeline.motion import COLUMNS, FOLLOW_S, ROWS, LumaGrid, MotionGate

CONFIG = MotionConfig(enabled=True, threshold=6.0, area_percent=1.0, max_skip_s=1000.0)
CELLS = ROWS * COLUMNS
FEWEST_MOVING = math.floor(CELLS * CONFIG.area_percent / 100) + 1
ROUNDING = 0.01  # of float32 means up to 255

_sides = st.integers(1, 200)


def plain(level: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def mosaic(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey picture of 96 x 128 pixels whose cells have these brightnesses."""
    grey = np.kron(cells, np.ones((4, 4), np.uint8))
    return np.repeat(grey[:, :, None], 3, axis=2)


def reduced(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    cells = np.empty((ROWS, COLUMNS), np.float32)
    LumaGrid().reduce(pixels, cells)
    return cells


def gate(scene: NDArray[np.uint8], config: MotionConfig = CONFIG) -> MotionGate:
    """One that has seen the scene once, at 0 seconds."""
    ready = MotionGate(config)
    assert not ready.is_still(scene, 0.0)
    return ready


def test_a_switched_off_gate_skips_nothing() -> None:
    switched_off = MotionGate(MotionConfig(enabled=False))
    assert not any(switched_off.is_still(plain(7), now_s) for now_s in range(5))


def test_a_still_scene_is_skipped_after_its_first_frame() -> None:
    ready = gate(plain(100))
    assert all(ready.is_still(plain(100), now_s) for now_s in (0.1, 0.2, 5.0))


@settings(deadline=None)
@given(st.floats(0.2, 100), st.lists(st.floats(0, 30), min_size=1, max_size=60))
def test_a_still_scene_is_classified_as_often_as_was_set(max_skip_s: float, pauses_s: list[float]) -> None:
    ready = gate(plain(100), MotionConfig(enabled=True, max_skip_s=max_skip_s))
    now_s = classified_s = 0.0
    for pause_s in pauses_s:
        now_s += pause_s
        if ready.is_still(plain(100), now_s):
            assert now_s - classified_s < max_skip_s
        else:
            classified_s = now_s


@settings(deadline=None)
@given(_sides, _sides, st.tuples(*[st.integers(0, 255)] * 3))
def test_the_brightness_of_a_plain_picture_of_any_size_is_its_luma(
    height: int, width: int, colour: tuple[int, int, int]
) -> None:
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = colour
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    assert reduced(pixels) == pytest.approx(np.full((ROWS, COLUMNS), luma), abs=ROUNDING)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_each_cell_has_the_mean_of_its_own_pixels(seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (ROWS * 4, COLUMNS * 4, 3), np.uint8)
    luma = pixels @ np.array((0.299, 0.587, 0.114))
    expected = luma.reshape(ROWS, 4, COLUMNS, 4).mean(axis=(1, 3))
    assert reduced(pixels) == pytest.approx(expected, abs=ROUNDING)


def test_rows_that_are_not_side_by_side_in_memory_are_read_right() -> None:
    padded = np.random.default_rng(1).integers(0, 256, (240, 352, 3), np.uint8)
    assert np.array_equal(reduced(padded[:, :320]), reduced(padded[:, :320].copy()))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.floats(0, 20), min_size=1, max_size=30))
def test_noise_within_half_the_threshold_is_never_motion(seed: int, pauses_s: list[float]) -> None:
    random = np.random.default_rng(seed)
    scene = random.integers(3, 253, (ROWS, COLUMNS))
    ready = gate(mosaic(scene.astype(np.uint8)))
    now_s = 0.0
    for pause_s in pauses_s:
        now_s += pause_s
        noisy = scene + random.integers(-2, 3, scene.shape)
        assert ready.is_still(mosaic(noisy.astype(np.uint8)), now_s)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(7, 255), st.integers(1, 60))
def test_enough_cells_that_change_enough_are_motion_at_once(
    seed: int, still_frames: int, change: int, more: int
) -> None:
    random = np.random.default_rng(seed)
    scene = random.integers(0, 256, CELLS)
    ready = gate(mosaic(scene.reshape(ROWS, COLUMNS).astype(np.uint8)))
    for i in range(still_frames):
        assert ready.is_still(mosaic(scene.reshape(ROWS, COLUMNS).astype(np.uint8)), 0.5 * (i + 1))
    moving = random.choice(CELLS, min(CELLS, FEWEST_MOVING + more), replace=False)
    scene[moving] = np.where(scene[moving] + change < 256, scene[moving] + change, scene[moving] - change)
    if scene.min() < 0:  # too great a change for some cell's brightness, either way
        return
    assert not ready.is_still(mosaic(scene.reshape(ROWS, COLUMNS).astype(np.uint8)), 4.0)


@settings(deadline=None)
@given(st.sets(st.integers(0, CELLS - 1), max_size=FEWEST_MOVING - 1))
def test_a_change_of_fewer_cells_is_no_motion(moving: set[int]) -> None:
    ready = gate(plain(0))
    scene = np.zeros(CELLS, np.uint8)
    scene[list(moving)] = 255
    assert ready.is_still(mosaic(scene.reshape(ROWS, COLUMNS)), 0.1)


@settings(deadline=None)
@given(st.floats(0.05, 4), st.floats(0, 0.95))
def test_light_that_changes_slowly_is_no_motion(period_s: float, share: float) -> None:
    # In the steady state the background lags behind a ramp by rate * dt / (1 - exp(-dt / FOLLOW_S)), which
    # is less than rate * (FOLLOW_S + dt); and a picture's levels are whole numbers.
    rate = share * (CONFIG.threshold - 1) / (FOLLOW_S + period_s)
    ready = gate(plain(50))
    for i in range(1, 100):
        level = min(255, round(50 + rate * period_s * i))
        assert ready.is_still(plain(level), period_s * i)


def test_what_has_come_to_rest_becomes_background() -> None:
    ready = gate(plain(50))
    answers = [ready.is_still(plain(150), 0.5 * i) for i in range(1, 60)]
    assert not any(answers[:10])  # meanwhile it is looked at again and again
    assert all(answers[-10:])


def test_a_frame_of_another_size_that_shows_the_same_is_still() -> None:
    ready = gate(plain(100))
    assert ready.is_still(plain(100, 480, 640), 1.0)
    assert not ready.is_still(plain(200, 240, 320), 2.0)


@pytest.mark.parametrize("adopt", [False, True])
def test_the_frame_after_a_reset_is_classified(adopt: bool) -> None:
    ready = gate(plain(100))
    assert ready.is_still(plain(100), 1.0)
    if adopt:
        ready.adopt(CONFIG)
    else:
        ready.reset()
    assert not ready.is_still(plain(100), 1.5)
    assert ready.is_still(plain(100), 2.0)


def test_a_clock_that_stands_still_harms_nothing() -> None:
    ready = gate(plain(100))
    assert ready.is_still(plain(100), 0.0)
    assert not ready.is_still(plain(200), 0.0)
