"""Several runs made into one figure, and answers compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.tools.measure.runs import agreement, run_task, summarise
from edge_agent.tools.measure.task import Reading, Task, TaskFailure


def _reading(latencies_ms: tuple[float, ...], steady_mb: float) -> Reading:
    return Reading("lib", "fp32", 2, 0.1, latencies_ms, 40, steady_mb, 100, 50, 30, 120, 0)


def test_runs_are_summed_up_by_median_and_spread() -> None:
    summary = summarise([_reading((3, 1, 2), 80), _reading((9, 9, 9), 95), _reading((4, 4, 4), 81)])
    assert (summary.latency_p50_ms.median, summary.latency_p50_ms.lowest) == (4, 2)
    assert (summary.steady_mb.median, summary.steady_mb.highest) == (81, 95)
    assert summary.runs == 3


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_95_percent_of_the_frames_are_no_slower_than_the_p95(latencies_ms: list[float]) -> None:
    found = summarise([_reading(tuple(latencies_ms), 80)]).latency_p95_ms.median
    assert found in latencies_ms
    assert sum(latency <= found for latency in latencies_ms) >= 0.95 * len(latencies_ms) - 1e-9
    assert sum(latency < found for latency in latencies_ms) < 0.95 * len(latencies_ms) + 1e-9


def test_agreement_counts_first_labels_and_finds_the_largest_error() -> None:
    reference = np.array([[0.7, 0.3], [0.4, 0.6], [0.5, 0.5]], np.float32)
    found = np.array([[0.6, 0.4], [0.6, 0.4]], np.float32)
    compared = agreement(found, reference)
    assert (compared.pictures, compared.top1) == (2, 0.5)
    assert compared.largest_error == pytest.approx(0.2)


def test_tasks_and_readings_survive_the_trip_through_json() -> None:
    task = Task("a:b", "/model", ("x.jpg",), {"threads": "2"}, ("json",), trims=True)
    assert Task.from_json(task.to_json()) == task
    reading = _reading((1.5, 2.5), 80)
    assert Reading.from_json(reading.to_json()) == reading


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    answer = run_task(Task("a:b", str(tmp_path), ("x.jpg",)), timeout_s=60)
    assert isinstance(answer, TaskFailure)
    assert str(tmp_path) in answer.reason


def test_a_process_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    answer = run_task(Task("a:b", str(tmp_path), ("x.jpg",)), timeout_s=0.01)
    assert answer == TaskFailure("took longer than 0 s")


def test_of_one_label_agreement_is_whether_it_is_more_likely_than_not() -> None:
    found, reference = (np.array(column, np.float32)[:, np.newaxis] for column in ([0.9, 0.4], [0.6, 0.6]))
    assert agreement(found, reference).top1 == 0.5
