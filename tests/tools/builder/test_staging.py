"""Staging: a model directory is replaced whole, or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import SIDECAR_NAME
from edge_agent.tools.builder.staging import staged


def make_model(directory: Path, content: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / SIDECAR_NAME).write_text(content)


def build_and_fail(output: Path) -> None:
    with staged(output) as directory:
        make_model(directory, "half")
        raise ZeroDivisionError


def build(output: Path, content: str) -> None:
    with staged(output) as directory:
        make_model(directory, content)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_finished_block_makes_the_directory_and_its_parents(tmp_path: Path) -> None:
    output = tmp_path / "a" / "b" / "model"
    with staged(output) as directory:
        make_model(directory, "new")
        assert not output.exists()
    assert (output / SIDECAR_NAME).read_text() == "new"
    assert names(output.parent) == ["model"]


def test_a_finished_block_replaces_every_file_of_the_old_model(tmp_path: Path) -> None:
    make_model(tmp_path / "model", "old")
    (tmp_path / "model" / "old.pt").touch()
    with staged(tmp_path / "model") as directory:
        make_model(directory, "new")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == [SIDECAR_NAME]
    assert (tmp_path / "model" / SIDECAR_NAME).read_text() == "new"


def test_a_failed_block_leaves_the_old_model_as_it_was(tmp_path: Path) -> None:
    make_model(tmp_path / "model", "old")
    with pytest.raises(ZeroDivisionError):
        build_and_fail(tmp_path / "model")
    assert (tmp_path / "model" / SIDECAR_NAME).read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_the_model_can_be_read_by_other_users(tmp_path: Path) -> None:
    with staged(tmp_path / "model") as directory:
        make_model(directory, "new")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o777 & ~umask


def test_what_a_killed_build_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".model.building").mkdir()
    (tmp_path / ".model.building" / "torchscript-fp32.pt").touch()
    with staged(tmp_path / "model") as directory:
        make_model(directory, "new")
    assert names(tmp_path / "model") == [SIDECAR_NAME]


def test_two_builds_of_one_directory_do_not_mix(tmp_path: Path) -> None:
    with staged(tmp_path / "model") as directory:
        make_model(directory, "first")
        with pytest.raises(ModelError, match="another build is writing there"), staged(tmp_path / "model"):
            pass
        assert names(directory) == [SIDECAR_NAME]
    assert (tmp_path / "model" / SIDECAR_NAME).read_text() == "first"


def test_a_link_to_the_model_stays_a_link(tmp_path: Path) -> None:
    make_model(tmp_path / "version1", "old")
    (tmp_path / "model").symlink_to("version1")
    with staged(tmp_path / "model") as directory:
        make_model(directory, "new")
    assert (tmp_path / "model").is_symlink()
    assert (tmp_path / "version1" / SIDECAR_NAME).read_text() == "new"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_nothing_but_a_model_is_overwritten(tmp_path: Path, kind: str) -> None:
    output = tmp_path / "precious"
    if kind == "file":
        output.touch()
    else:
        output.mkdir()
        (output / "thesis.odt").touch()
    with pytest.raises(ModelError, match="precious: exists and is not a model directory"), staged(output):
        pass
    assert output.exists()
    assert names(tmp_path) == ["precious"]


def test_a_file_system_that_refuses_is_reported_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ModelError, match=r"/file/.*: cannot be written: Not a directory"),
        staged(tmp_path / "file" / "model"),
    ):
        pass


def test_killed_at_any_step_of_the_exchange_there_is_a_model(tmp_path: Path) -> None:
    """At each look from another process the old model or the new one is there, over two hundred exchanges."""
    output = tmp_path / "model"
    build(output, "0")
    is_over, missing = threading.Event(), list[str]()

    def look() -> None:
        while not is_over.is_set():
            if not output.exists():
                missing.append(str(output))

    looker = threading.Thread(target=look)
    looker.start()
    for number in range(200):
        build(output, str(number))
    is_over.set()
    looker.join()
    assert missing == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_where_two_renames_are_needed_the_old_model_comes_back_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "model"
    build(output, "old")
    monkeypatch.setattr("edge_agent.tools.builder.staging.exchange", lambda *_: False)
    build(output, "between")
    output.rename(tmp_path / ".model.replaced")  # as a process killed between the two leaves it
    with pytest.raises(RuntimeError), staged(output):
        raise RuntimeError
    assert (output / SIDECAR_NAME).read_text() == "between"
