"""What is known of devices, and how it is shown: whatever they publish."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt.contract.payloads import GroupInfo, Refusal, encode
from edge_agent.tools.fleet.backbone import Topic
from edge_agent.tools.fleet.devices import KINDS, Device
from edge_agent.tools.fleet.page import COLUMNS, Query, chosen, devices_json, metrics, page
from tests.mqtt import samples

NOW_S = 1_000_000.0
PORCH = Device("porch").with_payload("health", encode(samples.health()), NOW_S - 20)
GONE = Device("gate").with_payload("health", encode(samples.health()), NOW_S - 200)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    (
        "memory",
        "board",
        "mqtt",
        "camera",
        "groups",
        "model",
        "interval_s",
        "uptime_s",
        "label",
        "to",
        "config",
        "seq",
    )
)


def test_health_and_info_are_taken_as_the_daemon_writes_them() -> None:
    refusal = Refusal("settings", "no")
    info = replace(samples.info(), groups=(GroupInfo("all", "calm", 1, True, (), refused=(refusal,)),))
    device = PORCH.with_payload("info", encode(info), NOW_S)
    assert (device.memory_mb, device.temperature_c, device.unknown_percent) == (88.0, 51.1, 4.2)
    assert (device.version, device.groups, device.refused) == (
        "0.1.0",
        (("all", "calm"),),
        "all: settings: no",
    )
    assert device.settings["stabilizer"]["window"] == 3


def test_a_device_is_there_for_three_of_its_intervals() -> None:
    assert PORCH.is_there(NOW_S)
    assert PORCH.is_there(NOW_S + 160)
    assert not PORCH.is_there(NOW_S + 161)
    assert not Device("new").is_there(NOW_S)


@given(st.sampled_from(KINDS), st.binary(max_size=100) | st.dictionaries(fields, json_values).map(json.dumps))
def test_whatever_a_device_publishes_is_read_or_refused_and_can_be_shown(
    kind: str, payload: bytes | str
) -> None:
    raw = payload.encode() if isinstance(payload, str) else payload
    try:
        device = Device("porch").with_payload(kind, raw, NOW_S)
    except ValueError:
        return
    assert "porch" in page([device], Query(), NOW_S)
    json.loads(devices_json([device], Query(sort="-memory"), NOW_S))
    for line in metrics([device], {"events": 1}, NOW_S).splitlines():
        assert re.fullmatch(r'# .*|[a-z_]+(\{([a-z]+="(\\.|[^"\\])*",?)+\})? \S+', line), line


def test_the_page_is_filtered_sorted_and_escaped() -> None:
    hostile = replace(PORCH, name="porch2", label="<script>alert(1)</script>")
    shown = page([PORCH, GONE, hostile], Query('"><b>', '"><b>'), NOW_S)
    assert "<b>" not in shown
    assert "<script>" not in page([hostile], Query(), NOW_S)
    assert [each.name for each in chosen([PORCH, GONE], Query(sort="age"), NOW_S)] == ["porch", "gate"]
    assert [each.name for each in chosen([PORCH, GONE], Query(sort="-age"), NOW_S)] == ["gate", "porch"]
    assert [each.name for each in chosen([PORCH, GONE], Query("no running"), NOW_S)] == ["gate"]


@pytest.mark.parametrize("column", [column.key for column in COLUMNS])
def test_every_column_sorts_devices_that_have_said_nothing(column: str) -> None:
    assert len(chosen([PORCH, Device("new"), GONE], Query(sort=column), NOW_S)) == 3


@pytest.mark.parametrize(
    ("subject", "topic"),
    [
        ("$MQTT.msgs.site.cams.porch.event", Topic("porch", "", "event")),
        ("$MQTT.msgs.site.cams.porch.region.gate.event", Topic("porch", "gate", "event")),
        ("$MQTT.msgs.site.cams.porch.request.pause", None),
        ("$MQTT.msgs.site.cams.po rch.event", None),
        ("$MQTT.msgs.site.cams.*.event", None),
    ],
)
def test_a_subject_of_the_stream_is_a_device_s_topic_or_none(subject: str, topic: Topic | None) -> None:
    assert Topic.of(subject, "site.cams") == topic
