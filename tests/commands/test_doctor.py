"""`edge-agent doctor` as a command: its exit code, its JSON, and a configuration that is broken."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.install.store import ModelStore
from edge_agent.model.sidecar import Artifact, files_sha256, write_sidecar
from tests.clock import FakeClock
from tests.install.came import came_over_mqtt


def test_without_a_configuration_the_board_is_examined(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    names = [check["name"] for check in json.loads(capsys.readouterr().out)]
    assert {"cpu", "native engine", "disk", "clock", "configuration"} <= set(names)
    assert "broker" not in names


def test_a_broken_configuration_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "edge-agent.yaml"
    config.write_text("memory:\n  budget: 5\n")
    assert main(["doctor", "--config", str(config)]) == 1
    shown = capsys.readouterr().out
    assert "fail  configuration" in shown
    assert "budget" in shown


def checked(
    state: Path, configured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, dict[str, str]]:
    """What the doctor finds for the agent of that model.path."""
    config = state.with_name("edge-agent.yaml")
    config.write_text(f"model: {{path: {configured}}}\nmqtt: {{host: 127.0.0.1, port: 1}}\n")
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    main(["doctor", "--config", str(config), "--json"])
    return {check["name"]: check for check in json.loads(capsys.readouterr().out)}


def test_the_model_that_came_over_mqtt_is_checked_and_the_one_to_go_back_to(
    lite0: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    place = came_over_mqtt(lite0, state, lite0.directory)
    checks = checked(state, lite0.directory, monkeypatch, capsys)
    assert checks["model"]["verdict"] == checks["model.path"]["verdict"] == "ok"
    assert f"in {place}, its files undamaged; it came over MQTT" in checks["model"]["found"]
    assert str(lite0.directory) in checks["model.path"]["found"]
    assert "engine" in checks
    nothing = checked(state, tmp_path, monkeypatch, capsys)
    assert (nothing["model"]["verdict"], "model.path" in nothing) == ("fail", False)
    came_over_mqtt(lite0, tmp_path / "other", tmp_path)
    assert checked(tmp_path / "other", tmp_path, monkeypatch, capsys)["model.path"]["verdict"] == "warn"


def test_a_damaged_model_that_came_over_mqtt_is_said_with_the_way_to_another(
    lite0: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = came_over_mqtt(lite0, tmp_path / "state", lite0.directory)
    (place / "xnnpack-fp32.weights").write_bytes(b"half")
    checks = checked(tmp_path / "state", lite0.directory, monkeypatch, capsys)
    assert checks["model"]["verdict"] == "fail"
    assert "came over MQTT" in checks["model"]["found"]
    advice = checks["model"]["advice"]
    assert advice.startswith(f"remove {place} and restart the agent, which then runs model.path; ask for")
    assert "xnnpack-fp32.weights: damaged" in advice
    store = ModelStore(tmp_path / "state", FakeClock())
    shutil.rmtree(place)
    assert store.begin(lite0.directory) == lite0.directory


def test_a_model_that_came_over_mqtt_and_would_run_as_a_program_fails(
    lite0: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {role: found for role, found in lite0.sidecar.files.items() if role.startswith("torchscript")}
    place = came_over_mqtt(lite0, tmp_path / "state", lite0.directory)
    write_sidecar(place, replace(lite0.sidecar, files=files, sha256=files_sha256(files)))
    engine = checked(tmp_path / "state", lite0.directory, monkeypatch, capsys)["engine"]
    assert (engine["verdict"], engine["found"]) == ("fail", "the model cannot be run here")


def test_without_rights_to_know_which_model_runs_it_is_said_and_model_path_checked(
    lite0: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state/models/in-use.json").mkdir(parents=True)
    checks = checked(tmp_path / "state", lite0.directory, monkeypatch, capsys)
    assert checks["model in use"]["verdict"] == "warn"
    assert "use sudo" in checks["model in use"]["advice"]
    assert checks["model"]["verdict"] == "ok"


def test_other_faults_are_reported_with_their_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "edge-agent.yaml"
    config.write_text(
        f"model: {{path: {tmp_path}}}\nsource: {{type: folder, folder: {{path: {tmp_path}}}}}\n"
        "mqtt: {host: 127.0.0.1, port: 1}\n"
    )
    assert main(["doctor", "--config", str(config), "--json"]) == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    failed = {name for name, check in checks.items() if check["verdict"] == "fail"}
    assert {"model", "camera", "broker"} <= failed
    assert all(checks[name]["advice"] for name in failed)
