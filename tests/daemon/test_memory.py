"""The memory budget of the running daemon: chosen for, held, and given up with a reason."""

from __future__ import annotations

import io
import re
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge_agent.errors import EXIT_RESTART, EXIT_USAGE
from edge_agent.inference.host import read_host
from edge_agent.memory.procfs import read_memory
from edge_agent.model.sidecar import Artifact
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import Ask, StartDaemon
from tests.daemon.helpers import DEVICE, RIGHT, START_S, receive
from tests.daemon.process import Daemon
from tests.mqtt.brokers import collect, wait_until

LEAKY = (str(Path(__file__).parent / "leaky.py"),)
SOAK_FRAMES = 5000


def test_a_leak_is_trimmed_degraded_and_at_last_restarted_with_its_reason(
    start: StartDaemon, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAK_MB", "2")
    # Never above one and a half budgets, where the restart comes at once, without the steps before it.
    monkeypatch.setenv("UNTIL_MB", "240")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    daemon = start(
        program=LEAKY,
        memory={"budget_mb": 180, "check_interval_s": 0.2},
        publish={"image": True, "health_interval_s": 1},
    )
    assert daemon.wait() == EXIT_RESTART
    log = daemon.log
    assert log.index("memory trimmed") < log.index("step=no_images") < log.index("restart wanted")
    assert receive(subscriber, "availability", lambda text: text == "offline")
    monkeypatch.setenv("LEAK_MB", "0")
    daemon.start()
    info = receive(subscriber, "info", lambda payload: payload["restart_reason"])
    assert re.search(
        r"is above the budget of 180 MB after trimming, (stream_weights, )?no_images", info["restart_reason"]
    )


def leak(monkeypatch: pytest.MonkeyPatch, *, until_mb: int) -> None:
    """Let a leaky daemon grow to this size, and give each measure against it some seconds."""
    for name, value in (("LEAK_MB", "4"), ("UNTIL_MB", str(until_mb)), ("SETTLE_S", "4")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.mark.parametrize(
    "engine",
    ["native", *(pytest.param(engine, marks=pytest.mark.soak) for engine in ("xnnpack", "torchscript"))],
)
def test_above_the_budget_the_weights_are_exchanged_while_it_runs(
    start: StartDaemon, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    budget_mb = 500 if engine == "torchscript" else 180
    leak(monkeypatch, until_mb=int(1.2 * budget_mb))
    daemon = start(
        program=LEAKY,
        model={"engine": engine, "precision": "fp32"},
        memory={"budget_mb": budget_mb, "check_interval_s": 0.2},
    )
    assert receive(subscriber, "state")["model"]["precision"] == "fp32"
    state = receive(subscriber, "state", lambda payload: payload["model"]["precision"] == "fp16")
    assert state["model"]["engine"] == engine
    assert state["label"] in set().union(*RIGHT.values())
    assert receive(subscriber, "state", partial(_has_reached, state["frame"]["id"] + 10))
    assert "step=fp16_weights" in daemon.log
    assert daemon.running


@pytest.mark.soak
def test_above_the_budget_the_camera_is_opened_again_with_smaller_frames(
    start: StartDaemon, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    leak(monkeypatch, until_mb=220)
    camera = {"width": 1280, "height": 960, "lores_width": 640, "lores_height": 480}
    daemon = start(
        program=LEAKY,
        source={"type": "picamera2", "fps": 20, "frozen_after_s": 0, "picamera2": camera},
        memory={"budget_mb": 180, "check_interval_s": 0.2},
        control={"enabled": True},
    )
    receive(subscriber, "state")
    assert snapshot_size(ask, subscriber) == (640, 480)
    wait_until(lambda: "step=small_frame" in daemon.log, START_S)
    wait_until(lambda: snapshot_size(ask, subscriber) == (320, 240))
    assert daemon.log.count("the source is now picamera2 0") == 1
    assert receive(subscriber, "health", lambda health: health["camera"]["state"] == "running")
    # An edit does not bring the large frames back.
    daemon.edit(source={"picamera2": camera | {"hflip": True}})
    wait_until(lambda: daemon.log.count("the source is now picamera2 0") == 2)
    assert snapshot_size(ask, subscriber) == (320, 240)


def snapshot_size(ask: Ask, subscriber: Subscriber) -> tuple[int, int]:
    """Width and height of the newest frame."""
    ask("snapshot", transaction="s", await_answer=False)
    topic = f"edge_agent/{DEVICE}/image"
    jpeg = collect(subscriber, lambda message: message.topic == topic, START_S)[-1].payload
    with Image.open(io.BytesIO(jpeg)) as picture:
        return picture.size


def test_health_reports_what_the_kernel_reports(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start()
    receive(subscriber, "state")
    memory = receive(subscriber, "health", lambda payload: payload["memory"]["rss_mb"] > 0)["memory"]
    kernel = read_memory(daemon.pid)
    assert memory["rss_mb"] == pytest.approx(kernel.rss_mb, rel=0.2)
    assert memory["peak_mb"] <= kernel.peak_mb + 0.1
    assert memory["budget_mb"] == 512
    assert memory["anon_mb"] + memory["file_mb"] == pytest.approx(memory["rss_mb"], rel=0.05)


def test_a_budget_that_only_the_lean_engine_fits_gets_the_lean_engine(
    start: StartDaemon, subscriber: Subscriber
) -> None:
    start(memory={"budget_mb": 120})
    state = receive(subscriber, "state")
    assert state["model"]["engine"] == ("native" if read_host().native else "xnnpack")


@pytest.mark.soak
def test_the_torchscript_engine_does_not_start_in_a_budget_for_the_lean_one(start: StartDaemon) -> None:
    daemon = start(model={"engine": "torchscript"}, memory={"budget_mb": 120})
    assert daemon.wait() == EXIT_USAGE
    assert "memory.budget_mb is 120, and the agent with torchscript fp16 needs" in daemon.log


def test_a_budget_lowered_while_running_is_held_to(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start()
    receive(subscriber, "state")
    daemon.edit(memory={"budget_mb": 32, "check_interval_s": 0.2})
    health = receive(subscriber, "health", lambda payload: payload["memory"]["state"] == "hard")
    assert health["memory"]["budget_mb"] == 32
    assert health["memory"]["rss_mb"] > 32
    wait_until(lambda: "memory trimmed" in daemon.log)


def _has_reached(frame: int, state: Any) -> bool:
    return bool(state["frame"]["id"] >= frame)


def rss_over(daemon: Daemon, subscriber: Subscriber, frames: int) -> list[float]:
    """The daemon's resident memory, in MB, each time that another fiftieth of the frames is classified."""
    samples: list[float] = []
    step = max(1, frames // 50)
    for goal in range(step, frames + 1, step):
        receive(subscriber, "state", partial(_has_reached, goal))
        samples.append(read_memory(daemon.pid).rss_mb)
    return samples


def assert_flat(samples: list[float], tolerance_mb: float) -> None:
    """The last third is no higher than the middle one."""
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    assert statistics.median(last) <= statistics.median(middle) + tolerance_mb, samples


@pytest.mark.soak
def test_memory_is_flat_from_frame_to_frame(start: StartDaemon, subscriber: Subscriber) -> None:
    assert_flat(rss_over(start(), subscriber, 150), tolerance_mb=2.0)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", ["native", "xnnpack", "torchscript"])
def test_memory_is_flat_over_thousands_of_frames(
    start: StartDaemon, subscriber: Subscriber, lite0: Artifact, engine: str
) -> None:
    started_s = time.monotonic()
    daemon = start(model={"engine": engine, "path": str(lite0.directory)}, memory={"budget_mb": 2048})
    samples = rss_over(daemon, subscriber, SOAK_FRAMES)
    fps = SOAK_FRAMES / (time.monotonic() - started_s)
    print(f"{engine}: {samples[5]:.1f} MB early, {samples[-1]:.1f} MB late, {fps:.0f} fps")
    assert_flat(samples, tolerance_mb=1.0)
