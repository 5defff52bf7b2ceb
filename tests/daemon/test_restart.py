"""The reason for a restart survives the process."""

from __future__ import annotations

from pathlib import Path

from edge_agent.daemon.restart import leave_reason, take_reason


def test_a_reason_is_taken_once(tmp_path: Path) -> None:
    assert leave_reason(tmp_path / "run", "memory above the budget\nof 100 MB")
    assert take_reason(tmp_path / "run") == "memory above the budget of 100 MB"
    assert take_reason(tmp_path / "run") == ""


def test_no_reason_is_no_trouble(tmp_path: Path) -> None:
    assert take_reason(tmp_path / "never made") == ""


def test_a_reason_that_cannot_be_written_does_not_stop_the_restart(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert not leave_reason(tmp_path / "file", "memory")


def test_a_damaged_reason_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "restart-reason").write_bytes(b"\xff\xfe" + b"x" * 10_000)
    assert 0 < len(take_reason(tmp_path)) <= 500
