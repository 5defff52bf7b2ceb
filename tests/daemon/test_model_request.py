"""`model/install` on a running agent: a model comes over HTTPS, is tried, and stays or is taken back."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.install.record import load
from edge_agent.install.store import DIRECTORY
from edge_agent.model.sidecar import check_whole, read_sidecar
from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from edge_agent.tools.installer.bundle import write_bundle
from tests.daemon.conftest import Ask, StartDaemon
from tests.daemon.helpers import receive
from tests.daemon.process import Daemon
from tests.daemon.restarting import restarted
from tests.daemon.test_teaching import another_model
from tests.install.bundles import bundle, sha256
from tests.install.server import Answer, Site, file, serving, slow
from tests.mqtt.wire.certificates import Authority

OTHER = "mobilenet_v3_small"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A bundle of a model of nobody's."""
    directory = tmp_path_factory.mktemp("other")
    write_bundle(read_sidecar(another_model(directory / "built")), directory / "other.tar")
    return (directory / "other.tar").read_bytes()


@pytest.fixture
def answers(other: bytes) -> dict[str, Answer]:
    return {"/other.tar": file(other)}


@pytest.fixture
def site(tmp_path: Path, answers: dict[str, Answer]) -> Iterator[Site]:
    with serving(Authority(tmp_path, "authority"), answers) as served:
        yield served


def pinned(site: Site, content: bytes, path: str = "/other.tar", **changes: Any) -> dict[str, Any]:
    return {"url": site.url(path), "sha256": sha256(content), "bytes": len(content)} | changes


def control(site: Site, watch_s: float = 2.5) -> dict[str, Any]:
    return {
        "enabled": True,
        "allow_model": True,
        "model_ca_file": str(site.ca_file),
        "model_watch_s": watch_s,
        "max_per_minute": 600,
    }


def became(subscriber: Subscriber, *states: str) -> dict[str, Any]:
    """Wait until `info` says that of the model that was asked for."""
    said = receive(subscriber, "info", lambda info: info.get("install", {}).get("state") in states)
    return dict(said["install"])


def in_use(daemon: Daemon) -> Path:
    """The model that the next start will load, by the record alone."""
    record = load(daemon.state_dir / DIRECTORY / "in-use.json")
    configured = Path(daemon.settings["model"]["path"])
    return daemon.state_dir / DIRECTORY / record.in_use if record.in_use else configured


def test_a_model_comes_is_tried_and_stays_also_after_a_restart(
    start: StartDaemon, ask: Ask, subscriber: Subscriber, site: Site, other: bytes
) -> None:
    daemon = start(control=control(site, 6))
    before = daemon.config.read_bytes()
    receive(subscriber, "health", lambda health: health["unknown_percent"] is not None)
    with restarted(daemon):
        answer = ask("model/install", transaction=1, **pinned(site, other))
        assert answer["data"] == {"state": "downloading"}
        trial = became(subscriber, "trial")
        assert trial["model"].startswith(OTHER)
        assert trial["why"].startswith(("of the newest frame it says", "not run beside"))
        receive(subscriber, "state", lambda state: state["model"]["name"] == OTHER)
        again = ask("model/install", transaction=2, **pinned(site, other))
        assert "another model is being installed" in again["error"]["message"]
        installed = became(subscriber, "installed")
        assert installed["sha256"] == sha256(other)
        assert ask("model/install", transaction=3, **pinned(site, other))["data"] == {"state": "installed"}
        assert site.asked == ["/other.tar"]
        ask("restart", transaction=4)
        info = receive(subscriber, "info", lambda info: "asked for over MQTT" in info["restart_reason"])
        assert info["install"] == installed
        assert info["model"]["name"] == OTHER
    assert daemon.config.read_bytes() == before
    check_whole(read_sidecar(in_use(daemon)))
    assert sorted(path.name for path in (daemon.state_dir / DIRECTORY).iterdir()) == sorted(
        ["in-use.json", in_use(daemon).name]
    )


def test_a_model_that_knows_less_is_taken_back(
    start: StartDaemon, ask: Ask, subscriber: Subscriber, site: Site, other: bytes, tmp_path: Path
) -> None:
    dog = tmp_path / "dog"
    dog.mkdir()
    shutil.copy(PICTURES_DIR / "dog.jpg", dog)
    source = {"fps": 5, "folder": {"path": str(dog)}}
    daemon = start(source=source, stabilizer={"threshold": 0.82}, control=control(site, 60))
    receive(subscriber, "health", lambda health: health["unknown_percent"] == 0)
    with restarted(daemon):
        assert ask("model/install", transaction=1, **pinned(site, other))["status"] == "ok"
        taken = became(subscriber, "taken back")
        assert taken["why"] == "unknown rose from 0 to 100 %"
        receive(subscriber, "state", lambda state: not state["unknown"])
    assert in_use(daemon) == Path(daemon.settings["model"]["path"])


def test_what_cannot_be_used_is_refused_with_why_and_nothing_changes(
    start: StartDaemon, ask: Ask, subscriber: Subscriber, site: Site, other: bytes, answers: dict[str, Answer]
) -> None:
    daemon = start(control=control(site), labels={"deny": ["sock"]})
    receive(subscriber, "state")

    number = itertools.count()

    def refused(**changes: Any) -> str:
        asked = pinned(site, other) | changes
        answer = ask("model/install", transaction=next(number), **asked)
        if answer["status"] == "error":
            return str(answer["error"]["message"])
        return str(became(subscriber, "refused")["why"])

    assert "its SHA-256 is" in refused(sha256="0" * 64)
    assert "bytes, not" in refused(bytes=len(other) + 1)
    assert "answers 404" in refused(url=site.url("/gone.tar"))
    strange = bundle(("model.json", b"{}"), ("run.sh", b"x"))
    answers["/strange.tar"] = file(strange)
    assert "model.json: " in refused(**pinned(site, strange, "/strange.tar"))
    assert "the model has no label 'sock'" in refused()
    malformed = pinned(site, other, url="http://127.0.0.1/x")
    assert "HTTPS" in ask("model/install", **malformed)["error"]["message"]
    assert "url must be" in ask("model/install", transaction=None)["error"]["message"]
    receive(subscriber, "state", lambda state: state["model"]["name"] != OTHER)
    assert in_use(daemon) == Path(daemon.settings["model"]["path"])
    assert [path.name for path in (daemon.state_dir / DIRECTORY).iterdir()] == ["in-use.json"]
    assert daemon.running


def test_it_is_off_unless_the_owner_says_so_and_nobody_else_can(
    start: StartDaemon, ask: Ask, subscriber: Subscriber, site: Site, other: bytes
) -> None:
    daemon = start(control={"enabled": True, "allow_patch": True})
    receive(subscriber, "state")
    answer = ask("model/install", transaction=1, **pinned(site, other))
    assert "control.allow_model is false" in answer["error"]["message"]
    patched = ask("config/patch", transaction=2, settings={"control.allow_model": True})
    assert "the device's own file only" in patched["error"]["message"]
    assert site.asked == []
    assert not (daemon.state_dir / DIRECTORY).exists()


def test_neither_frames_nor_answers_wait_for_a_slow_server_and_the_budget_holds(
    start: StartDaemon, ask: Ask, subscriber: Subscriber, site: Site, other: bytes, answers: dict[str, Answer]
) -> None:
    answers["/slow.tar"] = slow(0.05, other)
    start(control=control(site), source={"fps": 10}, memory={"budget_mb": 200})
    receive(subscriber, "state")
    ask("model/install", transaction=1, **pinned(site, other, "/slow.tar"))
    began_s = time.monotonic()
    for number in range(10):
        assert ask("config/get", transaction=f"get {number}")["status"] == "ok"
        receive(subscriber, "state")
    assert time.monotonic() - began_s < 50  # a machine with other work
    health = receive(subscriber, "health")
    assert health["memory"]["rss_mb"] < 200
    assert health["memory"]["state"] == "ok"


def test_where_the_budget_has_no_room_it_says_so(
    start: StartDaemon, ask: Ask, subscriber: Subscriber, site: Site, other: bytes
) -> None:
    daemon = start(control=control(site))
    rss_mb = receive(subscriber, "health", lambda health: health["fps"])["memory"]["rss_mb"]
    daemon.edit(memory={"budget_mb": int(rss_mb) + 12})
    receive(subscriber, "info", lambda info: info["config"]["memory"]["budget_mb"] < 200)
    answer = ask("model/install", transaction=1, **pinned(site, other))
    assert "fetching takes 24 MB beside the agent's" in answer["error"]["message"]


def killed_at_random(
    daemon: Daemon, ask: Ask, subscriber: Subscriber, request: dict[str, Any], times: int, seed: int
) -> None:
    """Ask for the model, and kill the agent somewhere between then and the trial's end, again and again.

    What the next start loads is whole each time; at last it is left alone, and the model is installed.
    """
    chance, configured = random.Random(seed), Path(daemon.settings["model"]["path"])
    for number in range(times):
        with restarted(daemon, -signal.SIGKILL):
            receive(subscriber, "state")
            ask("model/install", transaction=f"{seed} {number}", await_answer=False, **request)
            time.sleep(chance.uniform(0, 4))
            daemon.send(signal.SIGKILL)
            time.sleep(0.1)
        record = load(daemon.state_dir / DIRECTORY / "in-use.json")
        assert record.in_use == "" or record.in_use.startswith(OTHER)
        check_whole(read_sidecar(in_use(daemon)))
        if not daemon.running:
            daemon.start()
    with restarted(daemon, -signal.SIGKILL):
        for _ in range(200):
            ask("model/install", transaction="last", await_answer=False, **request)
            time.sleep(1)
            record = load(daemon.state_dir / DIRECTORY / "in-use.json")
            if record.in_use and record.trial is None:
                break
    assert record.trial is None
    assert in_use(daemon) != configured
    check_whole(read_sidecar(in_use(daemon)))


def test_killed_at_any_moment_it_has_the_old_model_or_the_new_one(
    start: StartDaemon, ask: Ask, subscriber: Subscriber, site: Site, other: bytes
) -> None:
    daemon = start(control=control(site, 1), source={"fps": 5})
    killed_at_random(daemon, ask, subscriber, pinned(site, other), 3, seed=5)


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.timeout(600)
def test_killed_six_times_five_at_any_moment(
    start: StartDaemon, ask: Ask, subscriber: Subscriber, site: Site, other: bytes, seed: int
) -> None:
    daemon = start(control=control(site, 1), source={"fps": 5})
    killed_at_random(daemon, ask, subscriber, pinned(site, other), 6, seed)
