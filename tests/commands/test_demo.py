"""`edge-agent demo` as a newcomer meets it: real agent, real broker, real subscriber."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.model.sidecar import Artifact
from edge_agent.tools.demo.beside_torch import TORCH
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES


def test_every_picture_is_answered_and_labelled_right_and_torchs_memory_is_shown_beside_its_own(
    lite0: Artifact, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--model", str(lite0.directory)]) == 0
    shown = capfd.readouterr().out
    count = len(BUNDLED_PICTURES)
    assert f"{count} of {count} pictures were answered over MQTT, by " in shown
    assert f"{count} of {count} labels are right" in shown
    assert all(picture.name in shown for picture in BUNDLED_PICTURES)
    table = shown.rpartition("labels are right")[2]
    own = re.search(r"this agent, the whole process \(\w+ fp16\) +(\d+)\n", table)
    assert own is not None
    assert 20 < int(own[1]) < 150
    assert all(re.search(rf"{re.escape(row.what)} +{row.rss_mb}\n", table) for row in TORCH)
    assert "not run now" in table


def test_a_folder_that_cannot_be_shown_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--pictures", str(tmp_path)]) == 2
    assert "has no JPEG, PNG, WebP or BMP pictures" in capsys.readouterr().err
    assert main(["demo", "--pictures", str(tmp_path / "absent")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_what_torch_takes_is_what_the_readme_shows() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for row in TORCH:
        assert re.search(rf"\| {re.escape(row.what)} \| \| {row.rss_mb} \|", readme), row.what
