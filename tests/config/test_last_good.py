"""The copy of the configuration that last worked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edge_agent.config.last_good import LastGood
from edge_agent.config.loader import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "edge-agent.yaml"
    path.parent.mkdir()
    path.write_text("device_id: pi\nsource:\n  fps: 3\n")
    return path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "state" / "last-good.yaml"


def test_what_worked_is_there_when_the_file_is_no_good(file: Path, copy: Path) -> None:
    good = load(file)
    LastGood(copy, file).keep(good)
    file.write_text("source:\n  fps: fast\n")
    assert LastGood(copy, file).load() == good


def test_the_copy_is_for_its_owner_alone(file: Path, copy: Path) -> None:
    LastGood(copy, file).keep(load(file))
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_relative_paths_are_meant_from_the_file_not_from_the_copy(file: Path, copy: Path) -> None:
    file.write_text("device_id: pi\nmodel:\n  path: model\n")
    good = load(file)
    LastGood(copy, file).keep(good)
    kept = LastGood(copy, file).load()
    assert kept is not None
    assert kept.model.path == good.model.path == file.parent / "model"


def test_a_file_that_has_changed_meanwhile_is_not_kept(file: Path, copy: Path) -> None:
    worked = load(file)
    file.write_text("device_id: pi\nsource:\n  fps: 4\n")
    LastGood(copy, file).keep(worked)
    assert not copy.exists()


def test_a_file_that_is_no_good_is_not_kept(file: Path, copy: Path) -> None:
    worked = load(file)
    LastGood(copy, file).keep(worked)
    file.write_text("nonsense: [")
    LastGood(copy, file).keep(worked)
    assert LastGood(copy, file).load() == worked


def test_the_same_again_writes_nothing(file: Path, copy: Path) -> None:
    last_good = LastGood(copy, file)
    last_good.keep(load(file))
    before = copy.stat()
    last_good.keep(load(file))
    assert (copy.stat().st_ino, copy.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"source: [", b"source:\n  fps: fast\n"])
def test_a_copy_that_is_missing_or_damaged_is_none(file: Path, copy: Path, content: bytes | None) -> None:
    if content is not None:
        copy.parent.mkdir()
        copy.write_bytes(content)
    assert LastGood(copy, file).load() is None


def test_where_it_cannot_be_written_the_agent_goes_on(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    LastGood(blocked / "last-good.yaml", file).keep(load(file))
    assert "the good configuration could not be kept" in caplog.text
