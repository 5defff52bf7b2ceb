"""The clock, and whom it asks whether the time has been set."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge_agent.system.clock import SystemClock, boot_id, kernel_synced


def test_the_system_clock_is_pythons() -> None:
    clock = SystemClock()
    assert abs(clock.monotonic_s() - time.monotonic()) < 1
    assert abs(clock.time_s() - time.time()) < 1


def test_the_kernel_answers_or_refuses_but_never_fails() -> None:
    assert kernel_synced() in (True, False, None)


@pytest.mark.parametrize("answer", [True, False])
def test_the_kernels_answer_comes_first(answer: bool, tmp_path: Path) -> None:
    mark = tmp_path / "synchronized"
    if not answer:
        mark.touch()
    assert SystemClock(mark, lambda: answer).synced() is answer


def test_where_the_kernel_refuses_timesyncds_mark_decides(tmp_path: Path) -> None:
    clock = SystemClock(tmp_path / "synchronized", lambda: None)
    assert clock.synced() is False
    (tmp_path / "synchronized").touch()
    assert clock.synced() is True


def test_the_boot_has_a_name_that_stays() -> None:
    assert boot_id() == boot_id() != ""


def test_a_kernel_without_a_boot_id_gives_an_empty_one(tmp_path: Path) -> None:
    assert boot_id(tmp_path / "absent") == ""
