"""Payloads: valid JSON that matches the published schemas, whatever the values."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.schema import Config, MqttConfig, RtspConfig, SourceConfig, StabilizerConfig
from edge_agent.inference import EngineInfo, Score
from edge_agent.mqtt.contract import payloads
from edge_agent.mqtt.contract.payloads import (
    BoardHealth,
    BrokerLack,
    CameraHealth,
    EventImageInfo,
    EvidenceInfo,
    FrameRef,
    HeadInfo,
    HeadRef,
    Health,
    Info,
    InstallInfo,
    LabelChanged,
    Lack,
    LatencyHealth,
    MemoryHealth,
    ModelInfo,
    ModelRef,
    MqttHealth,
    Payload,
    RawPrediction,
    StageLatency,
    State,
    TeachHealth,
    encode,
    timestamp,
    utc,
)
from edge_agent.system.secret import Secret, SecretUrl
from tests.mqtt import samples

SCHEMAS = Path(__file__).parents[3] / "docs" / "schema"
SCHEMA_OF = {
    State: "state",
    LabelChanged: "event",
    EventImageInfo: "event_image_info",
    RawPrediction: "prediction",
    Health: "health",
    Info: "info",
}

_moments = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))
_scores = st.floats(0, 1)
_spans = st.floats(0, 1e9)
_counts = st.integers(0, 2**53)
_hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
_maybe_bools = st.none() | st.booleans()
_maybe_spans = st.none() | _spans

_top = st.lists(st.builds(Score, st.text(), _counts, _scores), max_size=3).map(tuple)
_frames = st.builds(FrameRef, _counts, _spans)
_latencies = st.builds(StageLatency, _spans, _spans, _spans)
_models = st.builds(ModelRef, st.text(), _hashes, st.text(), st.text())
_regions = st.from_regex("[a-z0-9_-]{0,32}", fullmatch=True)
_heads = st.builds(
    HeadRef,
    st.sampled_from(["means", "regression"]),
    st.integers(1, 64),
    st.sampled_from(["", "never seen", "unsure", "none"]),
    _regions,
)
_states = st.builds(
    State,
    _counts,
    _moments,
    st.booleans(),
    st.text(),
    _scores,
    st.booleans(),
    _top,
    _frames,
    _models,
    _latencies,
    _regions,
    st.none() | _heads,
)
_events = st.builds(
    LabelChanged, _counts, _moments, st.booleans(), st.text(), st.text(), _scores, region=_regions
)
_pictures = st.builds(EventImageInfo, _counts, _moments, st.booleans(), st.text(), _scores, _regions)
_predictions = st.builds(RawPrediction, _moments, st.booleans(), _top, _frames, _latencies, _regions)
_healths = st.builds(
    Health,
    teaching=st.none() | st.builds(TeachHealth, _counts, _counts, _counts),
    schedule=st.sampled_from(["", "open", "closed"]),
    ts=_moments,
    ts_synced=st.booleans(),
    uptime_s=_spans,
    memory=st.builds(
        MemoryHealth,
        _spans,
        _spans,
        _spans,
        _spans,
        _spans,
        st.sampled_from(["ok", "soft", "hard"]),
        _maybe_spans,
        st.booleans(),
    ),
    camera=st.builds(
        CameraHealth,
        st.sampled_from(["starting", "running", "reopening", "paused", "ended"]),
        st.text(),
        _counts,
        _counts,
        _counts,
        st.text(),
    ),
    mqtt=st.builds(
        MqttHealth,
        st.booleans(),
        st.sampled_from(["5", "3.1.1", ""]),
        _counts,
        _counts,
        _counts,
        _counts,
        st.sampled_from(["memory", "volatile", "disk"]),
        _counts,
        st.text(),
    ),
    board=st.builds(
        BoardHealth,
        st.none() | st.floats(-40, 120),
        _maybe_bools,
        _maybe_bools,
        _maybe_bools,
        _maybe_bools,
        pace_percent=st.floats(10, 100),
    ),
    fps=_maybe_spans,
    skipped=_counts,
    latency_ms=st.builds(LatencyHealth, _maybe_spans, _maybe_spans),
    flaps=_counts,
    interval_s=_spans,
    skipped_percent=st.floats(0, 100),
    unknown_percent=st.none() | st.floats(0, 100),
)
_infos = st.builds(
    Info,
    ts=_moments,
    ts_synced=st.booleans(),
    version=st.text(),
    python=st.text(),
    board=st.text(),
    system=st.text(),
    model=st.builds(ModelInfo, st.text(), st.text(), _hashes, _counts),
    engine=st.builds(EngineInfo, st.text(), st.text(), st.text(), _counts, st.text()),
    evidence=st.builds(
        EvidenceInfo,
        st.sampled_from(["calibrated", "configured", "default"]),
        st.text(),
        st.none() | _scores,
        _maybe_spans,
        _maybe_spans,
        st.none() | _moments,
    ),
    config=st.just(Config()),
    config_error=st.text(),
    heads=st.lists(
        st.builds(
            HeadInfo,
            _regions,
            st.dictionaries(st.text(), st.integers(1, 500), max_size=3),
            st.sampled_from(["", "means", "regression"]),
            st.none() | _scores,
            st.none() | _scores,
            st.none() | _scores,
            st.integers(0, 500),
            st.lists(st.text(), max_size=2).map(tuple),
            st.text(),
            st.lists(st.from_regex("[a-z0-9_-]{1,32}", fullmatch=True), max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    restart_reason=st.text(),
    install=st.none()
    | st.builds(
        InstallInfo,
        st.sampled_from(["downloading", "checking", "trial", "installed", "refused", "taken back"]),
        _moments,
        _hashes,
        st.text(),
        st.text(),
    ),
    broker_lacks=st.lists(st.builds(BrokerLack, st.sampled_from(get_args(Lack)), st.text()), max_size=2).map(
        tuple
    ),
)


def validate(payload: Payload) -> dict[str, Any]:
    """Decode strictly, check against the published schema, and return the object."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    decoded: dict[str, Any] = json.loads(encode(payload), parse_constant=refuse)
    schema = json.loads((SCHEMAS / f"{SCHEMA_OF[type(payload)]}.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(decoded)
    return decoded


@given(_states | _events | _pictures | _predictions | _healths | _infos)
def test_every_payload_is_strict_json_of_its_schema(payload: Payload) -> None:
    assert validate(payload)["schema"] == payloads.SCHEMA


def test_every_payload_has_a_schema_that_is_one() -> None:
    assert set(get_args(Payload)) == set(SCHEMA_OF)
    for name in SCHEMA_OF.values():
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)


@given(_states)
def test_a_state_comes_back_as_it_was_but_for_rounding(state: State) -> None:
    decoded = validate(state)
    assert (decoded["seq"], decoded["label"], decoded["unknown"]) == (state.seq, state.label, state.unknown)
    assert decoded["ts_synced"] is state.ts_synced
    assert decoded["score"] == pytest.approx(state.score, abs=5.1e-5)
    assert [(entry["label"], entry["index"]) for entry in decoded["top"]] == [
        (entry.label, entry.index) for entry in state.top
    ]
    assert decoded["frame"]["id"] == state.frame.id
    assert decoded["latency_ms"]["infer"] == pytest.approx(state.latency_ms.infer, abs=0.051)
    assert datetime.fromisoformat(decoded["ts"]) <= state.ts
    assert state.ts - datetime.fromisoformat(decoded["ts"]) < timedelta(milliseconds=1)


def test_the_state_has_the_form_of_the_contract() -> None:
    assert encode(samples.state()) == (
        b'{"schema":1,"seq":1,"ts":"2025-06-01T12:00:00.123Z","ts_synced":true,"label":"tabby","score":0.6124,'
        b'"unknown":false,"top":[{"label":"tabby","index":281,"score":0.6124},'
        b'{"label":"tiger cat","index":282,"score":0.2},{"label":"Egyptian cat","index":285,"score":0.1}],'
        b'"frame":{"id":7,"age_ms":104.3},'
        b'"model":{"name":"resnet18","sha256":"' + b"ab" * 32 + b'","precision":"fp16","engine":"xnnpack"},'
        b'"latency_ms":{"capture":8.0,"preprocess":3.3,"infer":80.1}}'
    )


def test_an_event_names_both_labels() -> None:
    decoded = validate(samples.changed(5, "cat", "dog"))
    assert (decoded["event_type"], decoded["from"], decoded["to"]) == ("label_changed", "cat", "dog")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_lacks_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode(dataclasses.replace(samples.state(), score=number))


def test_secrets_are_masked_wherever_they_stand() -> None:
    config = Config(
        source=SourceConfig(rtsp=RtspConfig(url=SecretUrl("rtsp://me:hunter2@cam/1"))),
        mqtt=MqttConfig(password=Secret("hunter2")),
    )
    encoded = encode(dataclasses.replace(samples.info(), config=config))
    assert b"hunter2" not in encoded
    shown = json.loads(encoded)["config"]
    assert shown["mqtt"]["password"] == "***"
    assert shown["source"]["rtsp"]["url"] == "rtsp://***@cam/***"


def test_settings_are_shown_unrounded() -> None:
    config = Config(mqtt=MqttConfig(reconnect_min_s=0.125), stabilizer=StabilizerConfig(threshold=0.123456))
    decoded = validate(dataclasses.replace(samples.info(), config=config))
    assert decoded["config"]["mqtt"]["reconnect_min_s"] == 0.125
    assert decoded["config"]["stabilizer"]["threshold"] == 0.123456


def test_the_bytes_of_a_file_name_do_not_break_the_payload() -> None:
    health = samples.health()
    odd = dataclasses.replace(health.camera, last_error="cannot read caf\udce9.jpg")
    decoded = validate(dataclasses.replace(health, camera=odd))
    assert decoded["camera"]["last_error"] == "cannot read caf?.jpg"


def test_timestamps_are_utc_with_milliseconds() -> None:
    summer = timezone(timedelta(hours=2))
    assert timestamp(datetime(2025, 6, 1, 14, 0, 0, 999_999, summer)) == "2025-06-01T12:00:00.999Z"
    assert timestamp(utc(0.0)) == "1970-01-01T00:00:00.000Z"
