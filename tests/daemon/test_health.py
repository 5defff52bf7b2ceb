"""The health payload's own arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.daemon.health import FrameStats, board_health, memory_health
from edge_agent.memory.procfs import MemoryUse, read_memory
from edge_agent.mqtt.contract.payloads import LatencyHealth
from edge_agent.percentile import median, percentile
from edge_agent.system.board import CgroupMemory, parse_throttled


def test_an_interval_without_frames_has_no_latency() -> None:
    rate = FrameStats(started_s=0).take(60)
    assert (rate.frames, rate.fps, rate.latency) == (0, 0, LatencyHealth(None, None))


def test_rate_and_latency_belong_to_one_interval_only() -> None:
    stats = FrameStats(started_s=100)
    for latency_ms in range(1, 101):
        stats.add(latency_ms)
    rate = stats.take(150)
    assert (rate.fps, rate.latency) == (2, LatencyHealth(50, 95))
    stats.add(7)
    assert stats.take(151).latency == LatencyHealth(7, 7)


def test_the_saving_is_the_share_of_frames_skipped_in_one_interval() -> None:
    stats = FrameStats(started_s=0)
    stats.add(1)
    for _ in range(3):
        stats.skip()
    rate = stats.take(2)
    assert (rate.frames, rate.skipped, rate.skipped_percent, rate.fps) == (1, 3, 75, 0.5)
    assert stats.take(4).skipped_percent == 0


def test_of_very_many_frames_the_latest_count() -> None:
    stats = FrameStats(started_s=0, most=10)
    for latency_ms in [1000.0] * 995 + [5.0] * 10:
        stats.add(latency_ms)
    rate = stats.take(10)
    assert (rate.frames, rate.latency) == (1005, LatencyHealth(5, 5))


def test_an_interval_of_no_length_has_no_rate() -> None:
    stats = FrameStats(started_s=5)
    stats.add(1)
    assert stats.take(5).fps == 0


def test_the_peak_is_never_below_what_was_seen() -> None:
    use = MemoryUse(rss_mb=80, anon_mb=50, file_mb=30, peak_mb=90)
    health = memory_health(use, 128, "ok", CgroupMemory(True, 140), highest_mb=110)
    assert (health.rss_mb, health.peak_mb, health.cgroup_limit_mb) == (80, 110, 140)


def test_memory_is_what_proc_says() -> None:
    use = read_memory()
    health = memory_health(use, 128, "hard", CgroupMemory(False, None))
    assert (health.rss_mb, health.state, health.cgroup_live) == (use.rss_mb, "hard", False)


def test_a_board_without_firmware_is_told_as_unknown_not_as_fine() -> None:
    health = board_health(51.5, None)
    assert (health.temperature_c, health.throttled, health.under_voltage) == (51.5, None, None)


def test_the_firmware_s_word_is_passed_on() -> None:
    health = board_health(None, parse_throttled("throttled=0xa0002"))
    assert (health.frequency_capped, health.throttled) == (True, False)
    assert health.occurred == ("frequency_capped", "soft_temperature_limit")


_VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1)


@given(_VALUES, st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_splits_the_rest(values: list[float], share: float) -> None:
    found = percentile(values, share)
    below = sum(value <= found for value in values) / len(values)
    assert found in values
    assert below >= share - 1e-9
    assert sum(value < found for value in values) / len(values) < share + 1e-9


@given(_VALUES)
def test_the_median_is_in_the_middle(values: list[float]) -> None:
    assert median(values) == sorted(values)[(len(values) - 1) // 2]


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
