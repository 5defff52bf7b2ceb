"""install.sh, probed below a root of its own: whatever is planted there, and whenever it is interrupted."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.model.sidecar import Artifact
from tests.attack.tally import Tally
from tests.installing import CHECKOUT, Board, set_version
from tests.prober import KINDS, Surroundings, make_victim, run_in, upgrade_past

pytestmark = [pytest.mark.attack, pytest.mark.timeout(1200)]

_SIGNALS = 25
_UPGRADE_S = 2.5  # about as long as an upgrade takes here
_SHELLS: tuple[tuple[str, ...], ...] = ((), ("/bin/sh",), ("/bin/dash",))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, lite0: Artifact) -> Board:
    made = Board.make(tmp_path_factory.mktemp("probed") / "board", lite0.directory)
    done = made.install()
    assert done.returncode == 0, done.stdout
    return made


def test_everything_planted_in_every_place(board: Board, tmp_path: Path, tally: Tally) -> None:
    places = [(name, kind) for name in ("model", "models") for kind in KINDS]
    for number, (name, kind) in enumerate(places):
        with board.restored() as fresh:
            upgrade_past(fresh, make_victim(tmp_path / f"victim{number}"), name, kind)
    outcome = "0 followed, 0 harmed, each upgrade done"
    tally.add("install.sh: links, pipes and directories planted by the service's user", len(places), outcome)


def interrupted(board: Board, chance: random.Random) -> str:
    """Send an upgrade a signal at some moment; returns the version that runs afterwards."""
    before = board.snapshot()
    set_version(board.checkout, "1.1.0")
    with board.start() as running:
        time.sleep(chance.uniform(0.0, _UPGRADE_S))
        with suppress(ProcessLookupError):
            os.killpg(running.pid, chance.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
        said, _ = running.communicate(timeout=30)
    version = board.current.readlink().name.partition("-")[0]
    assert board.running() == ("enabled", "active"), said
    assert version == "1.1.0" or board.snapshot() == before, said
    return version


def test_signals_at_random_moments_of_an_upgrade(board: Board, tally: Tally) -> None:
    """It ends as it found things, or finished, and the next run ends well."""
    versions = []
    for number in range(_SIGNALS):
        with board.restored() as fresh:
            versions.append(interrupted(fresh, random.Random(number)))
            done = fresh.install()
            assert done.returncode == 0, done.stdout
            assert fresh.current.readlink().name.startswith("1.1.0-"), done.stdout
    as_before = versions.count("1.0.0")
    outcome = f"{as_before} left all as before, {_SIGNALS - as_before} finished; the next run ended well"
    tally.add("install.sh: a signal at a random moment of an upgrade", _SIGNALS, outcome)


def test_every_shell_among_traps(lite0: Artifact, tmp_path: Path, tally: Tally) -> None:
    hostile = Surroundings.make(tmp_path)
    command: list[str | Path] = [CHECKOUT / "install.sh", "--dry-run", "--root", tmp_path / "root"]
    for shell in _SHELLS:
        done = run_in(hostile.traps, [*shell, *command, "--lean", lite0.directory], hostile.environment)
        assert "Dry run: nothing was changed" in done.stdout, done.stderr
        assert not hostile.mark.exists(), shell
    traps = len(list(hostile.traps.iterdir())) * len(_SHELLS)
    tally.add("install.sh: traps in its directory, PATH and environment", traps, "0 sprung")
