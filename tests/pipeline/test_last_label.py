"""The label of the last event, over restarts, kills, a reboot and a loss of power."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.pipeline.last_label import LastLabel
from edge_agent.pipeline.stabilizer import UNKNOWN, LabelChange, Stable


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return tmp_path / "run"


def seen(label: str) -> Stable:
    return Stable(label, 0.9, label == UNKNOWN, None)


def test_at_first_every_label_is_new_but_unknown(state: Path, runtime: Path) -> None:
    last = LastLabel(state, runtime)
    assert last.change(seen(UNKNOWN)) is None
    assert last.change(seen("cat")) == LabelChange(UNKNOWN, "cat", 0.9)
    assert last.change(seen("cat")) is None
    assert last.change(seen("dog")) == LabelChange("cat", "dog", 0.9)


def test_it_is_kept_over_a_kill(state: Path, runtime: Path) -> None:
    LastLabel(state, runtime).change(seen("cat"))
    assert LastLabel(state, runtime).change(seen("cat")) is None


def test_it_is_kept_over_a_reboot_in_good_order(state: Path, runtime: Path) -> None:
    last = LastLabel(state, runtime)
    last.change(seen("cat"))
    last.close()
    assert LastLabel(state, runtime.with_name("other")).change(seen("cat")) is None


def test_a_label_of_an_older_run_does_not_hide_a_change_after_a_loss_of_power(state: Path) -> None:
    first = LastLabel(state, None)
    first.change(seen("cat"))
    first.close()
    LastLabel(state, None).change(seen("dog"))  # announced, and then the power fails
    assert LastLabel(state, None).change(seen("cat")) == LabelChange(UNKNOWN, "cat", 0.9)


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe", b"a\x1b[2J", b"x" * 5000, b"a\nb"])
def test_what_is_no_label_counts_as_none(state: Path, runtime: Path, garbage: bytes) -> None:
    state.mkdir()
    (state / "last-label").write_bytes(garbage)
    assert LastLabel(state, runtime).change(seen("cat")) == LabelChange(UNKNOWN, "cat", 0.9)


def test_where_nothing_can_be_written_it_works_without_being_kept(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    last = LastLabel(blocked, blocked)
    assert last.change(seen("cat")) == LabelChange(UNKNOWN, "cat", 0.9)
    last.close()
