"""The snippets for Prometheus, Telegraf and Grafana ask for fields that `health` has."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_agent.mqtt.contract.payloads import encode
from tests.mqtt import samples
from tests.mqtt.samples import TOPICS

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = DOCS / "examples"
DASHBOARD = json.loads((EXAMPLES / "grafana.json").read_text(encoding="utf-8"))
SERIES = re.compile(r"edge_agent_[a-z0-9_]+")
PREFIX = "edge_agent_"


def numbers(value: Any, path: str = "") -> Iterator[str]:
    """The names under which the numbers of a payload become series."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{path}_{key}" if path else key)
    elif isinstance(value, int | float):
        yield path


HEALTH = {f"{PREFIX}{name}" for name in numbers(json.loads(encode(samples.health())))}


def queries() -> list[str]:
    variables = [str(variable["query"]) for variable in DASHBOARD["templating"]["list"]]
    return variables + [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def asked() -> set[str]:
    """Every series that the dashboard asks for."""
    return {name for query in queries() for name in SERIES.findall(query)}


def test_the_dashboard_asks_for_what_health_has() -> None:
    assert len(asked()) > 10
    assert asked() <= HEALTH


def test_each_panel_is_whole() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert panel["targets"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")")
            assert '{device=~"$device"}' in target["expr"]


def test_the_alerts_ask_for_what_health_has_and_say_which_device() -> None:
    rules = yaml.safe_load((EXAMPLES / "prometheus-alerts.yaml").read_text())["groups"][0]["rules"]
    for rule in rules:
        named = set(SERIES.findall(rule["expr"]))
        assert named
        assert named <= HEALTH
        assert "{{ $labels.device }}" in rule["annotations"]["summary"]


@pytest.mark.parametrize("device", ["porch", "back_yard-2", "health"])
@pytest.mark.parametrize("topic", ["edge_agent_{}_health", "edge_agent/{}/health"])
def test_prometheus_finds_the_device_in_either_exporters_topic(device: str, topic: str) -> None:
    (job,) = yaml.safe_load((EXAMPLES / "prometheus.yaml").read_text())["scrape_configs"]
    relabel, dropped = job["metric_relabel_configs"]
    match = re.fullmatch(relabel["regex"], topic.format(device))
    assert match
    assert (relabel["target_label"], match[1]) == ("device", device)
    assert dropped == {"regex": "topic|sensor", "action": "labeldrop"}


def test_mqtt2prometheus_reads_every_number_of_health_and_names_it_alike() -> None:
    config = yaml.safe_load((EXAMPLES / "mqtt2prometheus.yaml").read_text())
    named = {metric["prom_name"] for metric in config["metrics"]}
    nullable = {"edge_agent_memory_cgroup_limit_mb"}  # null in the sample
    assert named == (HEALTH - {"edge_agent_schema"}) | nullable
    for metric in config["metrics"]:
        assert metric["prom_name"] == PREFIX + metric["mqtt_name"].replace(".", "_")
    assert config["mqtt"]["topic_path"] == environment()["MQTT_TOPIC"]
    assert re.fullmatch(config["mqtt"]["device_id_regex"], TOPICS.health)["deviceid"] == "porch"  # type: ignore[index]


def test_prometheus_reads_where_the_exporter_listens() -> None:
    (job,) = yaml.safe_load((EXAMPLES / "prometheus.yaml").read_text())["scrape_configs"]
    exporter = environment()
    address = f"{exporter['PROMETHEUS_ADDRESS']}:{exporter['PROMETHEUS_PORT']}"
    assert job["static_configs"] == [{"targets": [address]}]
    assert exporter["PROMETHEUS_PREFIX"] == PREFIX
    (output,) = tomllib.loads((EXAMPLES / "telegraf.conf").read_text())["outputs"]["prometheus_client"]
    assert output["listen"] == address


def test_telegraf_reads_health_and_names_its_fields_alike() -> None:
    (source,) = tomllib.loads((EXAMPLES / "telegraf.conf").read_text())["inputs"]["mqtt_consumer"]
    assert source["topics"] == [TOPICS.health.replace("porch", "+")] == [environment()["MQTT_TOPIC"]]
    assert f"{source['name_override']}_" == PREFIX
    (parsing,) = source["topic_parsing"]
    parts = zip(parsing["tags"].split("/"), TOPICS.health.split("/"), strict=True)
    assert [value for name, value in parts if name == "device"] == ["porch"]
    assert source["data_format"] == "json"  # which joins the levels by _, as the exporter does


def environment() -> dict[str, str]:
    """The exporter's, as shipped."""
    lines = (EXAMPLES / "mqtt-exporter.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
