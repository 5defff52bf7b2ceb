"""The payloads `info` and `health`, and the status line: each section from its snapshot."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent import __version__
from edge_agent.config.schema import Config, MemoryConfig, ModelConfig
from edge_agent.daemon.report import (
    camera_health,
    evidence_payload,
    info_payload,
    memory_health,
    status_line,
)
from edge_agent.inference.choice import Choice
from edge_agent.inference.evidence import Evidence
from edge_agent.inference.loading import load_model
from edge_agent.memory.procfs import MemoryUse, read_memory
from edge_agent.model.sidecar import Artifact
from edge_agent.mqtt.contract.payloads import utc
from edge_agent.pipeline.capture_loop import CaptureStatus
from edge_agent.system.board import Board, CgroupMemory
from tests.clock import FakeClock


def test_the_peak_is_never_below_what_was_seen() -> None:
    use = MemoryUse(rss_mb=80, anon_mb=50, file_mb=30, peak_mb=90)
    health = memory_health(use, 128, "ok", CgroupMemory(True, 140), highest_mb=110)
    assert (health.rss_mb, health.peak_mb, health.cgroup_limit_mb) == (80, 110, 140)


def test_memory_is_what_proc_says() -> None:
    use = read_memory()
    health = memory_health(use, 128, "hard", CgroupMemory(False, None))
    assert (health.rss_mb, health.state, health.cgroup_live) == (use.rss_mb, "hard", False)


def test_the_camera_section_is_the_capture_thread_s_status() -> None:
    status = CaptureStatus("reopening", "v4l2 /dev/video0", 100, 3, 2, "the camera is gone", 4, 5)
    health = camera_health(status, "v4l2")
    assert dataclasses.asdict(health) == {
        "state": "reopening",
        "source": "v4l2",
        "frames": 100,
        "dropped": 3,
        "reopened": 2,
        "last_error": "the camera is gone",
        "unusable": 5,
    }


def test_the_status_line_shows_what_matters_in_a_few_words() -> None:
    line = status_line("tabby 87%", 2.04, 88.4, 128, "connected", "running")
    assert line == "tabby 87%, 2.0 fps, RSS 88 of 128 MB, broker connected, camera running"


def test_notes_are_added_where_there_are_some() -> None:
    assert "no frame yet, fps unknown yet, RSS" in status_line("", None, 60, 128, "connected", "starting")
    line = status_line("", 0, 60, 128, "unreachable", "reopening", "", "slowed to 70% (81 C)")
    assert line == (
        "no frame yet, 0.0 fps, RSS 60 of 128 MB, broker unreachable, camera reopening, slowed to 70% (81 C)"
    )


@pytest.fixture(scope="module")
def measured() -> Choice:
    lean = Evidence("xnnpack", "fp16", 4, "fp32", "libXNNPACK.so.0", 3, 0.2, 80, 90, 84, 90, 0.998, 1e-4)
    measured_at = datetime(2025, 6, 1, tzinfo=UTC)
    return Choice("xnnpack", "fp16", 4, "calibrated", "the fastest that fits", lean, measured_at)


def test_evidence_is_the_measurement_behind_the_choice(measured: Choice) -> None:
    evidence = evidence_payload(measured)
    assert (evidence.source, evidence.reason) == ("calibrated", "the fastest that fits")
    assert (evidence.agreement, evidence.latency_ms, evidence.rss_mb) == (0.998, 80, 84)
    assert evidence.measured == measured.measured_at


def test_a_choice_that_nothing_was_measured_for_has_a_reason_alone() -> None:
    evidence = evidence_payload(Choice("xnnpack", "fp32", 1, "configured", "as configured"))
    assert (evidence.source, evidence.reason) == ("configured", "as configured")
    assert (evidence.agreement, evidence.latency_ms, evidence.rss_mb, evidence.measured) == (None,) * 4


def test_info_says_what_runs_and_how_it_is_configured(lite0: Artifact, tmp_path: Path) -> None:
    config = Config(model=ModelConfig(path=lite0.directory), memory=MemoryConfig(budget_mb=4096))
    model = load_model(config.model, config.memory, config.labels, {})
    try:
        info = info_payload(
            config,
            model,
            board=Board(tmp_path),
            clock=FakeClock(is_synced=False),
            config_error="line 3",
            restart_reason="memory",
        )
    finally:
        model.close()
    assert (info.version, info.ts_synced, info.ts) == (__version__, False, utc(FakeClock().wall_s))
    assert (info.model.name, info.model.labels) == ("efficientnet_lite0", 1000)
    assert info.engine == model.engine.info
    assert info.evidence == evidence_payload(model.choice)
    assert (info.config, info.config_error, info.restart_reason) == (config, "line 3", "memory")
