"""Frame rate and latency over an interval."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt.contract.payloads import LatencyHealth
from edge_agent.pipeline.frame_stats import FrameStats, SteadyRate


def test_an_interval_without_frames_has_no_latency() -> None:
    rate = FrameStats().take(60)
    assert (rate.frames, rate.fps, rate.latency) == (0, None, LatencyHealth(None, None))


def test_rate_and_latency_belong_to_one_interval_only() -> None:
    stats = FrameStats()
    stats.add(1000)
    assert stats.take(100).latency == LatencyHealth(1000, 1000)
    for latency_ms in range(1, 101):
        stats.add(latency_ms)
    rate = stats.take(150)
    assert (rate.fps, rate.latency) == (2, LatencyHealth(50, 95))
    stats.add(7)
    assert stats.take(151).latency == LatencyHealth(7, 7)


def test_the_saving_is_the_share_of_frames_skipped_in_one_interval() -> None:
    stats = FrameStats()
    stats.add(1)
    for _ in range(3):
        stats.skip()
    rate = stats.take(2)
    assert (rate.frames, rate.skipped, rate.skipped_percent) == (1, 3, 75)
    assert stats.take(4).skipped_percent == 0


def test_of_very_many_frames_the_latest_count() -> None:
    stats = FrameStats(most=10)
    for latency_ms in [1000.0] * 995 + [5.0] * 10:
        stats.add(latency_ms)
    rate = stats.take(10)
    assert (rate.frames, rate.latency) == (1005, LatencyHealth(5, 5))


def test_the_rate_is_unknown_until_it_was_measured_over_ten_seconds() -> None:
    """One frame a second, health asked for at odd moments: never 3 or 13."""
    stats = FrameStats()
    assert stats.take(0.5).fps is None
    rates = []
    for second in range(1, 31):
        stats.add(80)
        rates.append(stats.take(second + 0.08).fps)
    assert rates[:10] == [None] * 10
    assert rates[10:] == [pytest.approx(1.0)] * 20


def test_the_rate_does_not_count_the_time_before_the_first_frame() -> None:
    stats = FrameStats()
    for now_s in (0, 60):
        assert stats.take(now_s).fps is None
    for _ in range(4):
        stats.add(80)
    assert stats.take(100).fps is None
    for _ in range(20):
        stats.add(80)
    assert stats.take(110).fps == 2


def test_the_rate_falls_to_nothing_when_no_frame_comes() -> None:
    rate = SteadyRate()
    assert [rate.update(now_s, 5) for now_s in (0, 9, 10, 12, 20)] == [None, None, 0, 0, 0]


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=200))
def test_the_figures_are_latencies_that_split_the_rest(latencies_ms: list[float]) -> None:
    stats = FrameStats()
    for latency_ms in latencies_ms:
        stats.add(latency_ms)
    latency = stats.take(1).latency
    for found, share in ((latency.p50, 0.5), (latency.p95, 0.95)):
        assert found in latencies_ms
        assert found is not None
        assert sum(value <= found for value in latencies_ms) / len(latencies_ms) >= share - 1e-9
        assert sum(value < found for value in latencies_ms) / len(latencies_ms) < share + 1e-9
    assert latency.p50 == sorted(latencies_ms)[(len(latencies_ms) - 1) // 2]


def test_one_thread_may_count_while_another_takes() -> None:
    stats = FrameStats(most=50)
    is_over = threading.Event()
    taken = 0

    def count() -> int:
        added = 0
        while not is_over.is_set():
            stats.add(1.0)
            added += 1
        return added

    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as pool:
            counting = pool.submit(count)
            end_s = time.monotonic() + 0.4
            while (now_s := time.monotonic()) < end_s:
                taken += stats.take(now_s).frames
            is_over.set()
            assert counting.result() == taken + stats.take(end_s).frames
    finally:
        sys.setswitchinterval(usual_s)


def test_unknown_is_the_share_of_one_interval_s_frames() -> None:
    stats = FrameStats()
    assert stats.take(1).unknown_percent is None
    for unknown in (True, False, False, False):
        stats.add(1, unknown=unknown)
    assert stats.take(2).unknown_percent == 25
    stats.add(1)
    assert stats.take(3).unknown_percent == 0
