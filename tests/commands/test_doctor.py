"""`edge-agent doctor` as a command: its exit code, its JSON, and a configuration that is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.cli import main


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
