"""`edge-agent model install` on a running agent: another model is taken, or taken back where it is worse."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config.loader import load
from edge_agent.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from edge_agent.install.store import ModelStore
from edge_agent.install.trial import Wellbeing
from edge_agent.model.sidecar import Artifact, check_whole, read_sidecar
from edge_agent.system.clock import SystemClock
from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from edge_agent.tools.installer.place import place_of
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import receive
from tests.daemon.model_install import begun, run
from tests.daemon.process import Daemon
from tests.daemon.restarting import restarted
from tests.daemon.test_teaching import another_model


@pytest.fixture
def present(lite0: Artifact, tmp_path: Path) -> Path:
    """The model in use, in a folder where others may be put beside it."""
    copied: Path = shutil.copytree(lite0.directory, tmp_path / "models/model")
    return copied


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return another_model(tmp_path_factory.mktemp("other") / "built")


def alone(present: Path) -> dict[str, Any]:
    """The settings of a daemon that does not run."""
    return {
        "device_id": "porch",
        "source": {"type": "folder", "folder": {"path": str(PICTURES_DIR)}},
        "model": {"path": str(present)},
        "memory": {"budget_mb": 512},
    }


def named(daemon: Daemon) -> Path:
    return load(daemon.config).model.path


def test_another_model_is_installed_and_the_one_before_comes_back(
    start: StartDaemon, subscriber: Subscriber, present: Path, other: Path
) -> None:
    daemon = start(model={"path": str(present)})
    daemon.config.write_text(f"# mine\n{daemon.config.read_text()}")
    receive(subscriber, "health", lambda health: health["unknown_percent"] is not None)
    with restarted(daemon):
        done = run(daemon, other, "--watch", "3")
        assert done.returncode == EXIT_OK, done.stderr
        assert "and is as well as before" in done.stderr
        assert named(daemon) == place_of(read_sidecar(other), present)
        receive(subscriber, "state", lambda state: state["model"]["name"] == "mobilenet_v3_small")
        assert daemon.config.read_text().startswith("# mine\n")
        assert "nothing to do" in run(daemon, other).stderr
        back = run(daemon, "--back", "--watch", "3")
        assert back.returncode == EXIT_OK, back.stderr
        assert named(daemon) == present
        receive(subscriber, "state", lambda state: state["model"]["name"] != "mobilenet_v3_small")


def test_a_model_that_knows_less_is_taken_back(
    start: StartDaemon, subscriber: Subscriber, present: Path, other: Path, tmp_path: Path
) -> None:
    dog = tmp_path / "dog"
    dog.mkdir()
    shutil.copy(PICTURES_DIR / "dog.jpg", dog)
    source = {"fps": 5, "folder": {"path": str(dog)}}
    daemon = start(model={"path": str(present)}, source=source, stabilizer={"threshold": 0.82})
    receive(subscriber, "health", lambda health: health["unknown_percent"] == 0)
    with restarted(daemon):
        done = run(daemon, other, "--watch", "30")
        assert done.returncode == EXIT_FAILURE
        assert "unknown rose from 0 to 100 %. The agent gets" in done.stderr
        assert named(daemon) == present
        receive(subscriber, "state", lambda state: not state["unknown"])


def test_a_model_that_cannot_run_here_changes_nothing(
    start: StartDaemon, subscriber: Subscriber, present: Path, other: Path, tmp_path: Path
) -> None:
    daemon = start(model={"path": str(present)}, labels={"deny": ["sock"]})
    receive(subscriber, "state")
    before = daemon.config.read_bytes()

    def refusal(*words: str | Path) -> tuple[int, str]:
        done = run(daemon, *words)
        assert daemon.config.read_bytes() == before
        assert [path.name for path in present.parent.iterdir()] == [present.name]
        return done.returncode, done.stderr

    assert refusal(tmp_path / "nowhere")[0] == EXIT_FAILURE
    code, said = refusal(other)  # without the label that the configuration names
    assert (code, "the model has no label 'sock'" in said) == (EXIT_FAILURE, True)
    damaged = tmp_path / "damaged"
    shutil.copytree(other, damaged)
    weights = damaged / "xnnpack-fp16.weights"
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    assert "xnnpack-fp16.weights" in refusal(damaged)[1]
    assert refusal()[0] == EXIT_USAGE
    code, said = refusal("--back")
    assert "no model was installed here before" in said
    assert code == EXIT_FAILURE


def test_without_an_agent_the_file_alone_is_changed(present: Path, other: Path, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "daemon", alone(present))
    tried = run(daemon, other, "--dry-run")
    assert tried.returncode == EXIT_OK, tried.stderr
    assert "dog.jpg: " in tried.stderr
    assert named(daemon) == present
    done = run(daemon, other)
    assert done.returncode == EXIT_OK, done.stderr
    assert "no agent runs here" in done.stderr
    assert named(daemon) == place_of(read_sidecar(other), present)


def test_it_says_so_where_the_agent_runs_a_model_that_came_over_mqtt(
    present: Path, other: Path, tmp_path: Path
) -> None:
    daemon = Daemon(tmp_path / "daemon", alone(present))
    store = ModelStore(daemon.state_dir, SystemClock())
    shutil.copytree(other, store.directory / "other-1")
    store.begin_trial(present, "other-1", Wellbeing(), "")
    done = run(daemon, present)
    assert done.returncode == EXIT_FAILURE
    assert "the agent runs other-1, which came over MQTT" in done.stderr


@pytest.mark.fault
def test_wherever_it_is_killed_the_file_names_a_model_that_is_whole(
    present: Path, other: Path, tmp_path: Path
) -> None:
    daemon = Daemon(tmp_path / "daemon", alone(present))
    chance, target = random.Random(7), place_of(read_sidecar(other), present)
    for _ in range(30):
        daemon.write(alone(present))
        with begun(daemon, other) as process:
            time.sleep(chance.uniform(0.2, 1.6))
            process.kill()
        assert named(daemon) in (present, target)
        check_whole(read_sidecar(named(daemon)))
    assert run(daemon, other).returncode == EXIT_OK


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_who_ends_it_while_it_watches_gets_the_old_model_back(
    start: StartDaemon, subscriber: Subscriber, present: Path, other: Path, number: signal.Signals
) -> None:
    daemon = start(model={"path": str(present)})
    receive(subscriber, "health")
    with restarted(daemon), begun(daemon, other, "--watch", "600") as process:
        assert process.stderr is not None
        while "watching it" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert "interrupted. The agent gets" in said
        assert process.returncode == EXIT_FAILURE
        assert named(daemon) == present
