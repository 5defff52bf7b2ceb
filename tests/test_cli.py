"""The command line: which modules it loads, and how it ends."""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from edge_agent import __version__
from edge_agent.cli import COMMANDS, Command, main, parser_for
from edge_agent.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from edge_agent.model.sidecar import Artifact
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES, PICTURES_DIR


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


def ended(
    words: str, stdout: IO[bytes] | int, *, unbuffered: str = "", limit_bytes: int | None = None
) -> tuple[int, str]:
    """Exit code and standard error of `edge-agent WORDS`, whose memory may be limited."""

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))

    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", *words.split()],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        text=True,
        check=False,
        preexec_fn=limit,
    )
    return done.returncode, done.stderr


# Less than a buffer and more than a buffer, by argparse and by a command, and with an exit code of its own.
PRINTS = (
    "--version", "--help", "check-config --help", "check-config --defaults", "check-config /nowhere",
    "doctor --json",
)  # fmt: skip


@pytest.mark.parametrize("words", PRINTS)
def test_a_reader_that_went_away_is_silence(words: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        assert ended(words, pipe) == (EXIT_FAILURE, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", PRINTS)
def test_output_onto_a_full_disk_is_an_error(words: str, unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        code, said = ended(words, full, unbuffered=unbuffered)
    assert (code, said) == (EXIT_FAILURE, "edge-agent: No space left on device\n")


def test_closed_standard_output_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m edge_agent check-config --defaults >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (EXIT_OK, "")


@pytest.mark.parametrize("limit_mb", range(110, 260, 15))
def test_too_little_memory_is_no_traceback(limit_mb: int, lite0: Artifact) -> None:
    words = f"classify --model {lite0.directory} {PICTURES_DIR / BUNDLED_PICTURES[0].name}"
    code, said = ended(words, subprocess.DEVNULL, limit_bytes=limit_mb * 2**20)
    assert "Traceback" not in said
    assert (code == EXIT_OK) == (said == "")  # OpenBLAS says it in words of its own


def test_an_error_is_shown_without_controls_whatever_it_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "--model", "no\x1b[2Jmodel\x9b", "cat.jpg"]) == 1
    shown = capsys.readouterr().err
    assert "no\\x1b[2Jmodel\\x9b" in shown
    assert shown.strip().isprintable()
