"""The payloads of the MQTT contract: a frozen dataclass for each, and `encode`, which makes its JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any, Literal

from edge_agent.config.render import masked
from edge_agent.config.schema import Config
from edge_agent.inference import EngineInfo, Score
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.text import printable_json

SCHEMA = 1
"""The version of the payloads; a change that could break a subscriber raises it."""

OutboxPlace = Literal["memory", "volatile", "disk"]
"""Where waiting events are: lost with the process, lost with the power, or safe."""

Lack = Literal["retained messages", "QoS 1"]
"""What a broker may not offer: to keep messages for later subscribers, and to acknowledge events."""

_SCORE_DIGITS = 4
_OPTIONAL: Mapping[str, bool] = {"optional": True}
"""Marks a field that is left out of the JSON where it is empty."""
_DIGITS_BY_UNIT = {"_ms": 1, "_mb": 1, "_s": 1, "_c": 1, "_percent": 1, "fps": 2}


@dataclass(frozen=True, slots=True)
class FrameRef:
    """The frame that a result belongs to."""

    id: int
    age_ms: float
    """From the end of its capture to the making of this payload."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The model that made a result."""

    name: str
    sha256: str
    precision: str
    engine: str


@dataclass(frozen=True, slots=True)
class HeadRef:
    """The taught head that made a result."""

    method: str
    """`means` or `regression`."""
    labels: int
    why_unknown: str
    """`never seen`, `unsure` or `none`, where this frame's answer is unknown; else empty."""
    period: str = field(default="", metadata=_OPTIONAL)
    """The period whose own head it is; left out where it is that of all examples."""


@dataclass(frozen=True, slots=True)
class StageLatency:
    """The time that each stage took, in milliseconds."""

    capture: float
    preprocess: float
    infer: float


@dataclass(frozen=True, slots=True)
class State:
    """Topic `state`: the present answer."""

    seq: int
    """Grows from message to message, and is never used twice, restarts included; `event` shares it."""
    ts: datetime
    """When the frame was captured, UTC."""
    ts_synced: bool
    """Whether `ts` comes from a clock that had been set."""
    label: str
    score: float
    unknown: bool
    top: tuple[Score, ...]
    frame: FrameRef
    model: ModelRef
    latency_ms: StageLatency
    region: str = field(default="", metadata=_OPTIONAL)
    """The region of the picture that it is about; empty, and left out, for the whole."""
    head: HeadRef | None = field(default=None, metadata=_OPTIONAL)
    """Left out where the labels are the network's own."""


@dataclass(frozen=True, slots=True)
class LabelChanged:
    """Topic `event`: the label has changed."""

    seq: int
    ts: datetime
    ts_synced: bool
    from_label: str = field(metadata={"json": "from"})
    to_label: str = field(metadata={"json": "to"})
    score: float
    event_type: Literal["label_changed"] = "label_changed"
    region: str = field(default="", metadata=_OPTIONAL)
    """The region of the picture that it is about; empty, and left out, for the whole."""


@dataclass(frozen=True, slots=True)
class EventImageInfo:
    """Topic `event_image/info`, and the comment in the JPEG on `event_image`: the event of that picture."""

    seq: int
    """That of the event."""
    ts: datetime
    ts_synced: bool
    label: str
    score: float
    region: str = field(default="", metadata=_OPTIONAL)


@dataclass(frozen=True, slots=True)
class RawPrediction:
    """Topic `prediction`: one result of the model, before labels are renamed and steadied."""

    ts: datetime
    ts_synced: bool
    top: tuple[Score, ...]
    frame: FrameRef
    latency_ms: StageLatency
    region: str = field(default="", metadata=_OPTIONAL)


@dataclass(frozen=True, slots=True)
class MemoryHealth:
    """Resident memory of the agent, children included."""

    rss_mb: float
    anon_mb: float
    file_mb: float
    peak_mb: float
    budget_mb: float
    state: Literal["ok", "soft", "hard"]
    cgroup_limit_mb: float | None
    """The limit that the kernel would enforce; None where there is none."""
    cgroup_live: bool
    """Whether the kernel's memory controller is on at all (on stock Raspberry Pi OS it is not)."""


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """The source of frames."""

    state: Literal["starting", "running", "reopening", "paused", "ended"]
    source: str
    """Its type, as in the configuration: `picamera2`, `rtsp`, ..."""
    frames: int
    """Captured since the start."""
    dropped: int
    """Captured, but replaced by a newer one before they could be classified."""
    reopened: int
    last_error: str
    """Empty when there was none."""
    unusable: int = 0
    """Received, but not classified: damaged, too large, of a single colour, or never changing."""


@dataclass(frozen=True, slots=True)
class MqttHealth:
    """The broker connection, counted since the start."""

    connected: bool
    protocol: str
    """`5` or `3.1.1`; empty while not connected."""
    published: int
    dropped: int
    """Messages given up: superseded, too large, or refused by the broker."""
    queued_events: int
    dropped_events: int
    """Events lost because the outbox was full, or damaged on disk."""
    outbox: OutboxPlace
    reconnects: int
    last_error: str
    lacks: tuple[Lack, ...] = ()
    """What the connected broker does not offer."""
    broker: str = ""
    """Host and port of the connected one; empty while not connected."""


@dataclass(frozen=True, slots=True)
class BoardHealth:
    """The board itself; None where it does not say."""

    temperature_c: float | None
    under_voltage: bool | None
    frequency_capped: bool | None
    throttled: bool | None
    soft_temperature_limit: bool | None
    occurred: tuple[str, ...] = ()
    """Those of the four that have occurred since the boot."""
    pace_percent: float = 100.0
    """Share of the usual rate at which frames are taken; less than 100 while the board is hot."""


@dataclass(frozen=True, slots=True)
class LatencyHealth:
    """From the end of a frame's capture to its answer, over the last interval; None without a frame."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class TeachHealth:
    """Teaching by example."""

    examples: int
    questions: int
    """Frames that wait for their owner to name them."""
    asked: int
    """How many there have been since the start."""


@dataclass(frozen=True, slots=True)
class Health:
    """Topic `health`: how the agent and its board are."""

    ts: datetime
    ts_synced: bool
    uptime_s: float
    memory: MemoryHealth
    camera: CameraHealth
    mqtt: MqttHealth
    board: BoardHealth
    fps: float | None
    """Frames classified a second, over the last interval, but ten seconds at least; None until then."""
    skipped: int
    """Frames that needed no inference because the scene was still, since the start."""
    latency_ms: LatencyHealth
    flaps: int
    """Label changes that were taken back at once, since the start."""
    interval_s: float
    """How often this is published: what is older than a few of these comes from an agent that is gone."""
    skipped_percent: float = 0.0
    """Their share of all frames over the last interval: the inference that was saved."""
    unknown_percent: float | None = None
    """The share of classified frames over the last interval with the label unknown; None without a frame."""
    teaching: TeachHealth | None = field(default=None, metadata=_OPTIONAL)
    """Left out where nothing was taught."""
    schedule: Literal["", "open", "closed"] = field(default="", metadata=_OPTIONAL)
    """Whether labels are published just now; left out where there is no schedule."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model in use."""

    name: str
    arch: str
    sha256: str
    labels: int


@dataclass(frozen=True, slots=True)
class EvidenceInfo:
    """Why this engine and precision: measured by `calibrate`, or a safe default."""

    source: Literal["calibrated", "configured", "default"]
    reason: str
    agreement: float | None = None
    """Share of pictures with the same top-1 as FP32 eager, 0 to 1."""
    latency_ms: float | None = None
    rss_mb: float | None = None
    measured: datetime | None = None


@dataclass(frozen=True, slots=True)
class HeadInfo:
    """What a view was taught, and how well it knows it."""

    region: str
    """Empty for the whole picture."""
    labels: Mapping[str, int]
    """How many examples each has."""
    method: str
    """`means` or `regression`; empty where no head answers."""
    accuracy: float | None
    """On bursts that it was not taught, 0 to 1; None where that cannot be said yet."""
    low: float | None
    high: float | None
    """The interval of 95 %."""
    mislabelled: int
    """Examples that the others would have given another label."""
    missing: tuple[str, ...]
    """What should be shown next, in words."""
    problem: str
    """Why what was taught is not used; empty where it is."""
    periods: tuple[str, ...] = field(default=(), metadata=_OPTIONAL)
    """Those with a head of their own; left out where there are none."""


@dataclass(frozen=True, slots=True)
class BrokerLack:
    """Something that the connected broker does not offer."""

    lacks: Lack
    lost: str
    """What subscribers lose by it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A part of a group's wanted state that was not taken."""

    what: str
    """`message` where the whole cannot be trusted or read, else the part: `settings`, `head frame`."""
    why: str


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """What became of the wanted state of one of the device's groups."""

    group: str
    revision: str
    """Of the latest document that was signed; empty before there was one."""
    sequence: int
    """Of that document; 0 before there was one."""
    trial: bool
    """Whether this device has what is tried on some."""
    settings: tuple[str, ...]
    """The settings that the group gives this device."""
    heads: tuple[str, ...] = ()
    """The regions whose heads the group gives this device; `frame` for the whole picture."""
    refused: tuple[Refusal, ...] = ()
    model: str = field(default="", metadata=_OPTIONAL)
    """The SHA-256 of the bundle whose model the group gives this device; left out where it gives none."""
    pending: bool = field(default=False, metadata=_OPTIONAL)
    """Whether that model is still being fetched or tried; left out where not."""


@dataclass(frozen=True, slots=True)
class InstallInfo:
    """What became of the latest model that was asked for over MQTT."""

    state: Literal["downloading", "checking", "trial", "installed", "refused", "taken back"]
    ts: datetime
    """Since when."""
    sha256: str
    """That of its bundle."""
    model: str = ""
    """Its name and the beginning of its hash; empty before it has been read."""
    why: str = ""
    """Why it was refused or taken back; else what there is to say of it."""


@dataclass(frozen=True, slots=True)
class Info:
    """Topic `info`: what is running, and how it is configured. Secrets are masked by their type."""

    ts: datetime
    ts_synced: bool
    version: str
    python: str
    board: str
    system: str
    model: ModelInfo
    engine: EngineInfo
    evidence: EvidenceInfo
    config: Config
    config_error: str = ""
    """Why the file on the device is not the one in force; empty when it is."""
    restart_reason: str = ""
    """Why the agent restarted itself last; empty when it did not."""
    broker_lacks: tuple[BrokerLack, ...] = ()
    heads: tuple[HeadInfo, ...] = field(default=(), metadata=_OPTIONAL)
    """Left out where nothing was taught."""
    groups: tuple[GroupInfo, ...] = ()
    """The wanted state of the device's groups, and what became of it."""
    install: InstallInfo | None = field(default=None, metadata=_OPTIONAL)
    """Left out where no model was asked for."""


Payload = State | LabelChanged | EventImageInfo | RawPrediction | Health | Info


def utc(time_s: float) -> datetime:
    """Return the moment `time_s` seconds after 1970-01-01 UTC."""
    return datetime.fromtimestamp(time_s, UTC)


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds: `2025-06-01T12:00:00.123Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def encode(payload: Payload) -> bytes:
    """The payload's compact JSON, in UTF-8.

    Raises ValueError for a number that is not finite: JSON has none, and a subscriber could not read it.
    """
    return dump({"schema": SCHEMA} | plain(payload))


def dump(value: Mapping[str, Any]) -> bytes:
    """Compact JSON of plain values, with what cannot be seen as `\\uXXXX`; what UTF-8 cannot carry (bytes of
    a file's name) becomes `?`."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return printable_json(text).encode("utf-8", "replace")


def plain(value: Any) -> Any:
    """A dataclass as JSON's own types: measured numbers rounded by their unit, times as text.

    The configuration is shown as its owner wrote it, with its secrets masked.
    """
    if isinstance(value, Config):
        return masked(value)
    if dataclasses.is_dataclass(value):
        return {
            part.metadata.get("json", part.name): _rounded(part.name, plain(getattr(value, part.name)))
            for part in dataclasses.fields(value)
            if getattr(value, part.name) or not part.metadata.get("optional")
        }
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def _rounded(name: str, value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _digits(name))
    if name.endswith("_ms") and isinstance(value, dict):
        return {key: _rounded(name, item) for key, item in value.items()}
    return value


def _digits(name: str) -> int:
    return next((digits for unit, digits in _DIGITS_BY_UNIT.items() if name.endswith(unit)), _SCORE_DIGITS)
