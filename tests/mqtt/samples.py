"""Payloads for the publisher's tests."""

from __future__ import annotations

from datetime import UTC, datetime

from edge_agent.config.schema import Config, MqttConfig
from edge_agent.inference import EngineInfo, Score
from edge_agent.mqtt.contract.payloads import (
    BoardHealth,
    CameraHealth,
    EvidenceInfo,
    FrameRef,
    Health,
    Info,
    LabelChanged,
    LatencyHealth,
    MemoryHealth,
    ModelInfo,
    ModelRef,
    RawPrediction,
    StageLatency,
    State,
)
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.mqtt.wire.status import BrokerStatus

TOPICS = Topics("edge_agent", "porch")
NOON = datetime(2025, 6, 1, 12, 0, 0, 123456, UTC)
TOP = (Score("tabby", 281, 0.61239), Score("tiger cat", 282, 0.2), Score("Egyptian cat", 285, 0.1))


def broker_config(port: int, **changes: object) -> MqttConfig:
    """A connection to the test's broker that does not wait long before it tries again."""
    settings = {"host": "127.0.0.1", "port": port, "reconnect_min_s": 0.02, "reconnect_max_s": 0.1} | changes
    return MqttConfig(**settings)  # type: ignore[arg-type]


def state(seq: int = 1, label: str = "tabby", region: str = "") -> State:
    return State(
        seq=seq,
        ts=NOON,
        ts_synced=True,
        label=label,
        score=0.61239,
        unknown=False,
        top=TOP,
        frame=FrameRef(7, 104.26),
        model=ModelRef("resnet18", "ab" * 32, "fp16", "xnnpack"),
        latency_ms=StageLatency(8.04, 3.3, 80.12),
        region=region,
    )


def changed(
    seq: int, from_label: str = "tabby", to_label: str = "tiger cat", region: str = ""
) -> LabelChanged:
    return LabelChanged(seq, NOON, True, from_label, to_label, 0.5, region=region)


def prediction() -> RawPrediction:
    return RawPrediction(NOON, True, TOP, FrameRef(7, 104.26), StageLatency(8.04, 3.3, 80.12))


def health() -> Health:
    return Health(
        ts=NOON,
        ts_synced=True,
        uptime_s=3600.04,
        memory=MemoryHealth(88.04, 50.0, 38.0, 104.0, 128.0, "ok", None, False),
        camera=CameraHealth("running", "picamera2", 100, 3, 0, ""),
        mqtt=BrokerStatus(connected=True, protocol="5", published=12).health(),
        board=BoardHealth(51.13, False, False, False, False, ("throttled",)),
        fps=1.9876,
        skipped=0,
        latency_ms=LatencyHealth(92.04, 101.0),
        flaps=2,
        interval_s=60.0,
        unknown_percent=4.2,
    )


def info() -> Info:
    return Info(
        ts=NOON,
        ts_synced=True,
        version="0.1.0",
        python="3.13.0",
        board="Raspberry Pi 5 Model B Rev 1.0",
        system="Debian GNU/Linux 13 (trixie)",
        model=ModelInfo("resnet18", "resnet18", "ab" * 32, 1000),
        engine=EngineInfo("xnnpack", "fp16", "fp32", 4, "libxnnpack.so.0.20241108"),
        evidence=EvidenceInfo("calibrated", "fastest that fits 128 MB", 0.998, 81.2, 88.1, NOON),
        config=Config(),
    )
