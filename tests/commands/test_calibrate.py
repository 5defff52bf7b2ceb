"""`edge-agent calibrate` and `bench` as commands: their output and the files that they write."""

from __future__ import annotations

import json
import shutil
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.inference import evidence
from edge_agent.inference.choice import runnable
from edge_agent.inference.host import read_host
from edge_agent.model.sidecar import Artifact, files_sha256, read_sidecar, write_sidecar
from tests.install.came import came_over_mqtt

needs_xnnpack = pytest.mark.skipif(not read_host().xnnpack, reason="there is no libXNNPACK here")


@pytest.fixture
def lean_model(lite0: Artifact, tmp_path: Path) -> Path:
    """The model without its TorchScript files: what a board without torch has."""
    directory = tmp_path / "model"
    shutil.copytree(lite0.directory, directory)
    files = {role: found for role, found in lite0.sidecar.files.items() if "xnnpack" in role}
    write_sidecar(directory, replace(lite0.sidecar, files=files, sha256=files_sha256(files)))
    return directory


@needs_xnnpack
def test_calibrate_stores_the_evidence_beside_the_model_and_says_what_it_means(
    lean_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(lean_model), "--repeats", "1", "--frames", "2", "--threads", "1"]
    assert main(["calibrate", *arguments, "--budget-mb", "128"]) == 0
    shown = capsys.readouterr().out
    stored = evidence.read(lean_model / "calibration.json")
    assert {m.precision for m in stored.measurements} == {"fp16", "fp32"}
    assert "the agent will use " in shown
    assert str(lean_model / "calibration.json") in shown


@needs_xnnpack
def test_without_a_name_calibrate_measures_the_plans_of_the_model_that_came_over_mqtt(
    lite0: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = tmp_path / "cache/edge-agent/demo-model"
    shutil.copytree(lite0.directory, configured)
    place = came_over_mqtt(lite0, tmp_path / "state", configured)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    assert main(["calibrate", "--repeats", "1", "--frames", "1", "--threads", "1"]) == 0
    came = f"measuring efficientnet_lite0 in {place}; it came over MQTT, and runs in place of model.path"
    assert came in capsys.readouterr().err
    measured = evidence.read(place / "calibration.json")
    assert {m.engine for m in measured.measurements} <= {"native", "xnnpack"}
    assert measured.failures == ()
    assert not (configured / "calibration.json").exists()


@needs_xnnpack
def test_calibrate_for_a_budget_below_the_floor_says_what_would_fit(
    lean_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(lean_model), "--repeats", "1", "--frames", "1", "--threads", "1"]
    assert (
        main(["calibrate", *arguments, "--budget-mb", "32", "--json", "--output", str(tmp_path / "e")]) == 0
    )
    answer = json.loads(capsys.readouterr().out)
    assert "set it to" in answer["choice"]
    measured = {(m["engine"], m["precision"]) for m in answer["measurements"]}
    assert measured == set(runnable(read_sidecar(lean_model).sidecar, read_host()))


def test_a_folder_without_pictures_is_refused(
    lean_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    assert main(["calibrate", "--model", str(lean_model), "--images", str(tmp_path / "none")]) == 2
    assert "no JPEG" in capsys.readouterr().err


@needs_xnnpack
def test_bench_keeps_rows_that_cannot_run_and_writes_its_files(
    lean_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "b.json"), "--svg", str(tmp_path / "b.svg")]
    rows_wanted = ["--row", "native", "--row", "fp16 weights"]
    measuring = ["--repeats", "1", "--frames", "2", "--threads", "1", *rows_wanted]
    assert main(["bench", "--model", str(lean_model), *measuring, *files]) == 0
    shown = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads((tmp_path / "b.json").read_text())["rows"]}
    assert rows["native FP16"]["summary"]["steady_mb"]["median"] < 100
    assert "the model has no torchscript-fp16 files" in rows["FP16 weights, TorchScript"]["absent"]
    assert list(rows) == ["FP16 weights, TorchScript", "native FP32", "native FP16"]
    assert all(name in shown for name in rows)
    drawn = ET.parse(tmp_path / "b.svg").getroot().itertext()
    assert {"native FP32", "native FP16"} <= set(drawn)


def test_a_chart_that_cannot_be_drawn_is_refused_before_anything_is_measured(
    lean_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", "--model", str(lean_model), "--svg", "bench.svg"]) == 2
    printed = capsys.readouterr()
    assert "pip install 'edge-agent[bench]'" in printed.err
    assert (printed.out, "round" in printed.err) == ("", False)


def test_a_row_that_does_not_exist_is_refused(lean_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--model", str(lean_model), "--row", "tensorrt"]) == 2
    assert "no row is called that" in capsys.readouterr().err
