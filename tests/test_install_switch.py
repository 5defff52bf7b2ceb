"""The installer's switch from one release to the next, with stand-ins for systemd: as before, or finished."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.model.sidecar import Artifact
from tests.installing import Board, set_version


@pytest.fixture
def board(tmp_path: Path, lite0: Artifact) -> Board:
    return Board.make(tmp_path / "board", lite0.directory)


@pytest.fixture(scope="module")
def installed_once(tmp_path_factory: pytest.TempPathFactory, lite0: Artifact) -> Board:
    board = Board.make(tmp_path_factory.mktemp("installed") / "board", lite0.directory)
    done = board.install()
    assert done.returncode == 0, done.stdout
    assert "First label: lorikeet" in done.stdout
    assert board.running() == ("enabled", "active")
    return board


@pytest.fixture
def installed(installed_once: Board) -> Iterator[Board]:
    """1.0.0 runs."""
    with installed_once.restored() as board:
        yield board


def versions(board: Board) -> list[str]:
    return [re.sub(r"-\d{8}T.*", "", name) for name in board.releases]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def interrupt(board: Board, point: str, number: signal.Signals, *, all_of_them: bool) -> tuple[int, str]:
    """Begin a run and send it a signal at that point; a terminal sends it to the children too."""
    reached = board.stop_at(point)
    with board.start() as running:
        wait_for(reached)
        (os.killpg if all_of_them else os.kill)(running.pid, number)
        said, _ = running.communicate(timeout=20)
    return running.returncode, said


def test_what_ran_before_is_kept_whatever_it_is_called(board: Board) -> None:
    for version in ("0.9.0", "0.10.0", "0.11.0"):
        assert board.upgrade_to(version).returncode == 0
    assert sorted(versions(board)) == ["0.10.0", "0.11.0"]
    assert board.current.readlink().name.startswith("0.11.0")
    assert (board.root / "opt/edge-agent/previous").readlink().name.startswith("0.10.0")


def test_a_clock_that_was_set_back_does_not_decide_what_is_kept(board: Board) -> None:
    for version, day in (("1.0.0", "20300101"), ("1.0.1", "20200101"), ("1.0.2", "20100101")):
        done = board.upgrade_to(version, changes=f"date() {{ echo {day}T000000; }}")
        assert done.returncode == 0, done.stdout
    assert sorted(versions(board)) == ["1.0.1", "1.0.2"]


def test_the_service_runs_without_docstrings_until_there_is_torch(board: Board) -> None:
    drop_in = board.root / "etc/systemd/system/edge-agent.service.d/15-lean.conf"
    board.upgrade_to("1.0.0")
    assert "-OO" in drop_in.read_text()
    done = board.upgrade_to("1.1.0", changes="with_torch() { true; }")
    assert done.returncode == 0, done.stdout
    assert not drop_in.exists()
    board.make_sick("1.2.0")
    assert board.upgrade_to("1.2.0").returncode == 1
    assert not drop_in.exists()
    assert board.upgrade_to("1.3.0").returncode == 0
    assert drop_in.exists()


def test_running_it_again_keeps_the_way_back(board: Board) -> None:
    board.upgrade_to("1.0.0")
    board.upgrade_to("1.1.0")
    assert board.install().returncode == 0
    assert sorted(versions(board)) == ["1.0.0", "1.1.0"]


def test_a_release_that_is_not_healthy_gives_way_to_the_one_before(installed: Board) -> None:
    before = installed.snapshot()
    installed.make_sick("1.1.0")
    done = installed.upgrade_to("1.1.0")
    assert done.returncode == 1
    assert "the old one runs again" in done.stdout
    assert installed.snapshot() == before
    assert versions(installed) == ["1.0.0"]


def test_a_first_release_that_is_not_healthy_stays_and_keeps_trying(board: Board) -> None:
    board.make_sick("1.0.0")
    done = board.install()
    assert done.returncode == 1
    assert "stays installed and keeps trying" in done.stdout
    assert board.running()[0] == "enabled"
    assert not (board.root / "opt/edge-agent/before").exists()


@pytest.mark.parametrize(
    ("point", "number", "all_of_them"),
    [
        ("filling", signal.SIGINT, True),
        ("starting", signal.SIGTERM, False),
        ("starting", signal.SIGHUP, True),
    ],
    ids=["Ctrl-C", "kill", "closed terminal"],
)
def test_an_upgrade_that_is_interrupted_leaves_all_as_it_was(
    installed: Board, point: str, number: signal.Signals, all_of_them: bool
) -> None:
    before = installed.snapshot()
    set_version(installed.checkout, "1.1.0")
    status, said = interrupt(installed, point, number, all_of_them=all_of_them)
    assert status == 128 + number, said
    assert installed.snapshot() == before
    assert installed.current.readlink().name.startswith("1.0.0")
    assert installed.upgrade_to("1.1.0").returncode == 0
    assert sorted(versions(installed)) == ["1.0.0", "1.1.0"]


def test_a_signal_between_making_a_link_and_putting_it_in_its_place_leaves_no_link(installed: Board) -> None:
    before, once = installed.snapshot(), installed.stand_ins / "once"
    stopped = f'if [[ $1 == -fT && ! -e {once} ]]; then touch {once}; kill $$; else command mv "$@"; fi'
    done = installed.upgrade_to("1.1.0", changes=f"mv() {{ {stopped}; }}")
    assert done.returncode == 128 + signal.SIGTERM, done.stdout
    assert installed.snapshot() == before


@pytest.mark.parametrize("point", ["filling", "starting"])
def test_a_first_installation_that_is_interrupted_leaves_nothing_that_runs(board: Board, point: str) -> None:
    status, said = interrupt(board, point, signal.SIGINT, all_of_them=True)
    assert status == 130, said
    assert board.running() == ("", "")
    left = {name for name in board.snapshot() if name != "service"}
    assert not any(
        name.endswith((".service", ".yaml", "bin/edge-agent", "current", "before")) for name in left
    )
    assert board.install().returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_waits_for_the_first_label_it_is_finished(
    installed: Board, number: signal.Signals
) -> None:
    set_version(installed.checkout, "1.1.0")
    interrupt(installed, "label", number, all_of_them=True)
    assert installed.current.readlink().name.startswith("1.1.0")
    assert (installed.root / "opt/edge-agent/previous").readlink().name.startswith("1.0.0")
    assert sorted(versions(installed)) == ["1.0.0", "1.1.0"]
    assert installed.running() == ("enabled", "active")
    left = sorted(path.name for path in (installed.root / "opt/edge-agent").iterdir())
    assert left == ["current", "previous", "releases"]


def test_a_reader_of_its_output_that_goes_away_does_not_leave_it_between(installed: Board) -> None:
    set_version(installed.checkout, "1.1.0")
    reached = installed.stop_at("starting")
    with installed.start() as running:
        wait_for(reached)
        assert running.stdout is not None
        running.stdout.close()
        os.kill(running.pid, signal.SIGHUP)
        running.wait(timeout=20)
    assert installed.current.readlink().name.startswith("1.0.0")
    assert installed.running() == ("enabled", "active")


def test_after_a_power_cut_the_next_run_goes_back_first_and_then_on(installed: Board) -> None:
    set_version(installed.checkout, "1.1.0")
    reached = installed.stop_at("starting")
    with installed.start() as running:
        wait_for(reached)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    assert installed.current.readlink().name.startswith("1.1.0")
    done = installed.upgrade_to("1.2.0")
    assert done.returncode == 0, done.stdout
    assert "was cut off: going back to what ran before it" in done.stdout
    assert sorted(versions(installed)) == ["1.0.0", "1.2.0"]
    assert not list((installed.root / "opt/edge-agent").glob("work.*"))


def test_a_service_that_was_stopped_and_disabled_is_so_again_after_going_back(installed: Board) -> None:
    for name in ("enabled", "active"):
        (installed.stand_ins / name).unlink()
    set_version(installed.checkout, "1.1.0")
    interrupt(installed, "starting", signal.SIGTERM, all_of_them=True)
    assert installed.running() == ("", "")


def test_a_model_comes_and_goes_back_with_its_release(installed: Board, tmp_path: Path) -> None:
    sidecar = installed.state / "model/model.json"
    before = sidecar.read_bytes()
    other = tmp_path / "other"
    assert os.system(f"cp -R {installed.model} {other}") == 0
    (other / "model.json").write_bytes(before.replace(b"efficientnet_lite0", b"efficientnet_lite1", 1))
    set_version(installed.checkout, "1.1.0")
    reached = installed.stop_at("starting")
    with installed.start("--lean", other) as running:
        wait_for(reached)
        assert sidecar.read_bytes() != before
        os.kill(running.pid, signal.SIGTERM)
        running.communicate(timeout=20)
    assert sidecar.read_bytes() == before
    assert len(list((installed.root / "var/lib/edge-agent-models").iterdir())) == 2
    assert installed.install("--lean", other).returncode == 0
    assert sidecar.read_bytes() != before
