"""Frame rate and latency over an interval."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt.contract.payloads import LatencyHealth
from edge_agent.pipeline.frame_stats import FrameStats


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


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=200))
def test_the_figures_are_latencies_that_split_the_rest(latencies_ms: list[float]) -> None:
    stats = FrameStats(started_s=0)
    for latency_ms in latencies_ms:
        stats.add(latency_ms)
    latency = stats.take(1).latency
    for found, share in ((latency.p50, 0.5), (latency.p95, 0.95)):
        assert found in latencies_ms
        assert found is not None
        assert sum(value <= found for value in latencies_ms) / len(latencies_ms) >= share - 1e-9
        assert sum(value < found for value in latencies_ms) / len(latencies_ms) < share + 1e-9
    assert latency.p50 == sorted(latencies_ms)[(len(latencies_ms) - 1) // 2]
