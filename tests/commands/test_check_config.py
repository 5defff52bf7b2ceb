"""`edge-agent check-config` as a user and a script meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.config.loader import parse
from edge_agent.config.render import commented_yaml
from edge_agent.config.schema import Config

CHECKOUT = Path(__file__).parents[2]
BAD = "log:\n  level: loud\nmqtt:\n  prot: 1883\n"


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "edge-agent.yaml"
    path.write_text(BAD)
    return path


def test_the_shipped_file_has_no_problems(capsys: pytest.CaptureFixture[str]) -> None:
    path = CHECKOUT / "config/edge-agent.yaml"
    assert main(["check-config", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: no problems found\n"


def test_every_problem_is_printed_with_its_line_and_what_was_meant(
    bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", str(bad)]) == 2
    assert capsys.readouterr().out.splitlines() == [
        f"{bad}:2: log.level: must be one of debug, info, warning, error, not the text 'loud'",
        f"{bad}:4: mqtt.prot: is not a setting (did you mean 'port'?)",
        "2 problems found",
    ]


def test_a_script_gets_the_problems_as_json(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--json", str(bad)]) == 2
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["config"], report["file"]) == (False, None, str(bad))
    assert report["problems"][1] == {
        "line": 4,
        "column": 3,
        "key": "mqtt.prot",
        "message": "is not a setting",
        "hint": "did you mean 'port'?",
    }


def test_a_script_gets_the_effective_configuration_without_its_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "edge-agent.yaml"
    path.write_text(
        "device_id: pi\nmqtt: {username: me, password: hunter2}\n"
        "source: {rtsp: {url: 'rtsp://me:hunter2@cam:554/1'}}\n"
    )
    assert main(["check-config", "--json", str(path)]) == 0
    output = capsys.readouterr().out
    report = json.loads(output)
    assert (report["ok"], report["problems"]) == (True, [])
    assert report["config"]["device_id"] == "pi"
    assert report["config"]["mqtt"]["password"] == "***"
    assert report["config"]["source"]["rtsp"]["url"] == "rtsp://***@cam:554/***"
    assert "hunter2" not in output


def test_a_complete_file_of_defaults_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--defaults"]) == 0
    output = capsys.readouterr().out
    assert output == commented_yaml(Config())
    assert parse(output, "defaults", hostname="pi").device_id == "pi"


def test_a_file_that_is_not_there_is_a_problem_like_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gone.yaml"
    assert main(["check-config", str(path)]) == 2
    assert capsys.readouterr().out == (
        f"{path}: cannot be read: No such file or directory\n1 problem found\n"
    )


def test_no_file_at_all_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config"]) == 2
    assert capsys.readouterr().err == "edge-agent check-config: name the configuration file to check\n"
