"""`edge-agent web token`."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.errors import EXIT_FAILURE, EXIT_OK
from edge_agent.web.token_file import TokenFile


def test_the_token_that_is_printed_is_the_right_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["web", "token", "--state-dir", str(tmp_path)]) == EXIT_OK
    token = capsys.readouterr().out.strip()
    assert len(token) == 64
    assert TokenFile(tmp_path).is_right(token)
    assert not TokenFile(tmp_path).is_right(token[:-1])


def test_it_goes_where_the_service_of_this_environment_has_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    assert main(["web", "token"]) == EXIT_OK
    assert TokenFile(tmp_path / "state").exists


def test_a_directory_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no directory")
    assert main(["web", "token", "--state-dir", str(tmp_path / "file")]) == EXIT_FAILURE
    assert f"{tmp_path}/file: " in capsys.readouterr().err
