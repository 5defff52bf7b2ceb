"""The command line: which modules it loads, and how it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edge_agent import __version__
from edge_agent.cli import COMMANDS, Command, main, parser_for
from edge_agent.errors import EXIT_USAGE


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"usage: edge-agent {name}" in shown
    assert len(shown.splitlines()) > 5


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_examples_are_indented_under_an_imperative(command: Command) -> None:
    first, *others = (command.load().__doc__ or "").splitlines()
    assert first[-1] in ".:"
    assert not first.split()[0].endswith("s")
    examples = [line for line in others if line.strip().startswith("edge-agent ")]
    assert examples
    assert all(line.startswith("  edge-agent ") for line in examples)


def test_help_lists_every_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # wide enough for a line each
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert all(f"{command.name} {command.help}" in shown for command in COMMANDS)


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"edge-agent {__version__}\n")


@pytest.mark.parametrize("words", [[], ["fly"], ["run"], ["run", "--config"], ["classify"]])
def test_a_command_that_cannot_be_understood_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == EXIT_USAGE


def test_an_expected_failure_is_one_line_on_stderr_and_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["run", "--config", "/nowhere/edge-agent.yaml"])
    shown = capsys.readouterr()
    assert code == EXIT_USAGE
    assert "/nowhere/edge-agent.yaml" in shown.err
    assert "Traceback" not in shown.err


def test_only_the_command_asked_for_is_filled_in() -> None:
    parser = parser_for(["classify"])
    assert parser.parse_args(["classify", "cat.jpg"]).top == 3
    with pytest.raises(SystemExit):
        parser.parse_args(["model", "build"])


def test_the_daemons_command_loads_no_other_command() -> None:
    script = (
        "import sys; from edge_agent.cli import parser_for; parser_for(['run'])\n"
        "print([name for name in sys.modules if name.startswith('edge_agent.commands.')])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "['edge_agent.commands.run']"


def test_a_reader_that_went_away_is_no_traceback() -> None:
    script = f"{sys.executable} -m edge_agent check-config --defaults | true"
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert shown.stderr == ""
