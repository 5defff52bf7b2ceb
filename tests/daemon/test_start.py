"""The first seconds of the daemon: a stop while it loads, a half-written file, one it cannot run with."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_agent.config.loader import load
from edge_agent.daemon.agent import _load_within_budget
from edge_agent.errors import EXIT_OK, EXIT_USAGE, ArtifactError
from edge_agent.memory.costs import SubsystemCosts
from edge_agent.memory.trim import Trimmer
from edge_agent.model.sidecar import Artifact
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import Ask, StartDaemon
from tests.daemon.helpers import START_S, receive
from tests.daemon.process import Daemon, merged
from tests.mqtt.brokers import HOST, Mosquitto, free_port, wait_until
from tests.mqtt.wire.certificates import Authority

STOP_S = 2.0
_BURNERS = 6


def _burn() -> None:
    while True:
        pass


@pytest.fixture
def busy() -> Iterator[None]:
    """A machine with more to do than it has cores."""
    burners = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(_BURNERS)]
    for burner in burners:
        burner.start()
    yield
    for burner in burners:
        burner.kill()


def handles_sigterm(daemon: Daemon) -> bool:
    """Whether the process has come so far as to catch the signal: before that, the kernel ends it at once."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("engine", ["xnnpack", "torchscript"])
@pytest.mark.parametrize("after_s", [0.0, 0.5, 2.0])
@pytest.mark.usefixtures("busy")
def test_a_stop_while_the_model_is_loading_ends_it_at_once(
    start: StartDaemon, engine: str, after_s: float
) -> None:
    daemon = start(model={"engine": engine}, memory={"budget_mb": 4096})
    wait_until(lambda: handles_sigterm(daemon), START_S)
    time.sleep(after_s)
    code, seconds = daemon.terminate()
    assert (code, "Traceback" in daemon.log) == (EXIT_OK, False)
    assert seconds < STOP_S


def write_slowly(file: Path, settings: dict[str, Any], pause: threading.Event) -> threading.Thread:
    """Write the file in two halves, each of them valid; the second one when `pause` is over."""
    text = yaml.safe_dump(settings, sort_keys=False)
    first = text.index("\nmemory:") + 1
    opened = threading.Event()

    def write() -> None:
        with file.open("w") as writing:
            writing.write(text[:first])
            writing.flush()
            opened.set()
            pause.wait(START_S)
            writing.write(text[first:])

    writer = threading.Thread(target=write)
    writer.start()
    opened.wait(START_S)
    return writer


def test_nothing_of_a_file_is_applied_before_its_writer_has_closed_it(
    start: StartDaemon, subscriber: Subscriber, ask: Ask
) -> None:
    daemon = start(control={"enabled": True})
    receive(subscriber, "state")
    settings = daemon.settings | {"publish": {"health_interval_s": 7}}
    written = threading.Event()
    writer = write_slowly(daemon.config, settings, written)
    time.sleep(1.0)
    daemon.send(signal.SIGHUP)
    refused = ask("reload", transaction="while it is written")
    assert "is being written" in refused["error"]["message"]
    assert "configuration changed" not in daemon.log
    written.set()
    writer.join()
    info = receive(subscriber, "info", lambda info: info["config"]["publish"]["health_interval_s"] == 7)
    assert info["config_error"] == ""
    assert info["config"]["memory"]["budget_mb"] == 512


def test_a_start_waits_until_the_file_is_written(
    tmp_path: Path, settings: dict[str, Any], subscriber: Subscriber
) -> None:
    daemon = Daemon(tmp_path / "slow", settings)
    written = threading.Event()
    writer = write_slowly(daemon.config, settings | {"publish": {"health_interval_s": 7}}, written)
    with ExitStack() as stack:
        stack.callback(daemon.kill)
        stack.callback(written.set)
        daemon.start()
        time.sleep(2.0)
        assert daemon.running
        written.set()
        writer.join()
        assert receive(subscriber, "info")["config"]["publish"]["health_interval_s"] == 7


def test_a_configuration_that_it_cannot_run_with_is_not_the_end_where_there_is_a_good_one(
    start: StartDaemon, subscriber: Subscriber, tmp_path: Path
) -> None:
    copy = tmp_path / "last-good.yaml"
    daemon = start("--last-good", str(copy))
    receive(subscriber, "state")
    wait_until(copy.exists)
    daemon.terminate()
    for change, key in (
        ({"labels": {"allow": ["Hunter2"]}}, "labels.allow"),
        ({"model": {"path": "/srv/Hunter2"}}, "model.path"),
        ({"memory": {"budget_mb": 33}}, "memory.budget_mb"),
    ):
        good = daemon.settings
        daemon.edit(**change)
        daemon.start()
        info = receive(subscriber, "info")
        assert f"{key}: the agent could not run with that" in info["config_error"]
        assert receive(subscriber, "state")
        assert daemon.terminate()[0] == EXIT_OK
        assert "Hunter2" not in daemon.log + str(info)
        daemon.settings = good
        daemon.write(good)


def test_without_a_good_one_it_ends_and_says_why_without_what_was_refused(
    start: StartDaemon, tmp_path: Path
) -> None:
    daemon = start("--last-good", str(tmp_path / "last-good.yaml"), labels={"allow": ["tabbi"]})
    assert daemon.wait() == EXIT_USAGE
    assert "labels.allow: the model has no label '***'; did you mean 'tabby'" in daemon.log
    assert "tabbi" not in daemon.log


def test_the_program_of_a_model_from_elsewhere_is_not_run(lite0: Artifact, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model = {"path": str(lite0.directory), "engine": "torchscript"}
    file = tmp_path / "edge-agent.yaml"
    file.write_text(yaml.safe_dump({"model": model, "memory": {"budget_mb": 4096}}))
    elsewhere = Path(shutil.copytree(lite0.directory, tmp_path / "elsewhere"))
    for path in elsewhere.glob("*.pt"):
        path.write_bytes(b"a program")
    with pytest.raises(ArtifactError, match="its TorchScript is a program"):
        _load_within_budget(load(file), elsewhere, {}, SubsystemCosts(), Trimmer())


DEFECT_WITH_THREE_THREADS = """
import sys
from edge_agent.cli import main
from edge_agent.daemon import agent
load_model = agent.load_model
def fragile(config, *more, **named):
    if config.threads == 3:
        raise KeyError("Hunter" + str(2))  # the text of the error, which no line of the source holds
    return load_model(config, *more, **named)
agent.load_model = fragile
sys.exit(main())
"""


def test_a_start_that_fails_unexpectedly_is_made_again_with_the_good_one(
    start: StartDaemon, subscriber: Subscriber, tmp_path: Path, settings: dict[str, Any]
) -> None:
    copy = tmp_path / "last-good.yaml"
    copy.write_text(yaml.safe_dump(settings))
    program = ("-c", DEFECT_WITH_THREE_THREADS)
    daemon = start("--last-good", str(copy), program=program, model={"threads": 3})
    info = receive(subscriber, "info")
    assert "model.threads: the agent could not run with that" in info["config_error"]
    assert "RuntimeError: KeyError, whose text is not shown here" in daemon.log
    assert "Hunter2" not in daemon.log


def test_a_good_one_that_needs_tls_starts_where_the_file_does_not(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    authority, port = Authority(tmp_path, "home-ca"), free_port()
    files = authority.issue("server")
    broker = Mosquitto(
        tmp_path, f"listener {port} {HOST}\ncertfile {files.certificate}\nkeyfile {files.key}\n", port=port
    )
    copy = tmp_path / "last-good.yaml"
    cannot_run = merged(settings, {"labels": {"allow": ["no such label"]}})
    daemon = Daemon(tmp_path / "plain", cannot_run, "--last-good", str(copy))
    tls = {"port": port, "tls": {"enabled": True, "ca_file": str(authority.file)}}
    copy.write_text(yaml.safe_dump(merged(settings, {"mqtt": tls})))
    with ExitStack() as stack:
        stack.callback(daemon.kill)
        stack.callback(broker.kill)
        broker.start()
        daemon.start()
        wait_until(lambda: "connected to the broker" in daemon.log, START_S)
    assert "starting with the last good configuration" in daemon.log
