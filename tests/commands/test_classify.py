"""`edge-agent classify` with odd names, files that are no pictures, and pictures that take too much."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from edge_agent.cli import main
from edge_agent.model.sidecar import Artifact
from edge_agent.tools.demo.bundled import PICTURES_DIR
from tests.install.came import came_over_mqtt

NAME = b"caf\xe9\n\x1b[31m.jpg"
SHOWN = r"caf\xe9\n\x1b[31m.jpg"


@pytest.fixture(scope="module")
def answers(
    lite0: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, subprocess.CompletedProcess[bytes]]:
    """What the command says, as text and as JSON, to a good picture and three that it cannot take."""
    folder = tmp_path_factory.mktemp("pictures")
    good = folder / os.fsdecode(NAME)
    good.write_bytes((PICTURES_DIR / "dog.jpg").read_bytes())
    (folder / os.fsdecode(b"page\xff.jpg")).write_bytes(b"<html>")
    Image.new("RGB", (6000, 6000)).save(folder / "huge.webp", lossless=True, quality=0, method=0)
    command = [sys.executable, "-m", "edge_agent", "classify", "--model", str(lite0.directory)]
    files = sorted(folder.iterdir())
    return {
        form: subprocess.run([*command, *options, *files], capture_output=True, check=False)
        for form, options in {"text": [], "json": ["--json"]}.items()
    }


def test_json_is_strict_whatever_a_file_is_called(
    answers: dict[str, subprocess.CompletedProcess[bytes]],
) -> None:
    (line,) = answers["json"].stdout.decode("ascii").splitlines()
    assert json.loads(line)["image"].endswith(SHOWN)


def test_a_name_cannot_write_to_the_terminal(answers: dict[str, subprocess.CompletedProcess[bytes]]) -> None:
    text = answers["text"].stdout.decode()
    assert SHOWN in text.splitlines()[0]
    assert "\x1b" not in text


def test_without_a_name_it_is_the_model_that_came_over_mqtt_and_none_of_its_programs(
    lite0: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = tmp_path / "cache/edge-agent/demo-model"
    configured.mkdir(parents=True)
    (configured / "model.json").write_text("{}")
    came_over_mqtt(lite0, tmp_path / "state", configured)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    picture = str(PICTURES_DIR / "goldfish.jpg")
    assert main(["classify", "--top", "1", picture]) == 0
    assert "goldfish" in capsys.readouterr().out.splitlines()[1]
    assert main(["classify", "--engine", "torchscript", picture]) == 1
    assert "torchscript: its files were left out" in capsys.readouterr().err


def test_what_cannot_be_taken_is_named_with_its_reason_and_the_others_are_classified(
    answers: dict[str, subprocess.CompletedProcess[bytes]],
) -> None:
    assert answers["text"].returncode == 1
    problems = answers["text"].stderr.decode().splitlines()
    assert [line for line in problems if r"page\xff.jpg: it is a web page (HTML)" in line]
    assert [line for line in problems if "huge.webp: decoding its 6000 x 6000 pixels (WebP) takes" in line]
