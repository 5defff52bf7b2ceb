"""The real Prometheus with the shipped files: the dashboard is answered, and alerts fire when they should."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.payloads import encode
from tests.ha.conftest import EXAMPLES
from tests.ha.exporters import NAMES, exporter
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, Mosquitto, free_port, wait_until
from tests.mqtt.helpers import publish_once
from tests.mqtt.samples import TOPICS
from tests.test_monitoring import DASHBOARD

_FOLDER = "tmp/prometheus"
_ALERTS = "edge-agent-alerts.yaml"


@contextmanager
def prometheus(root: Path, exporter_port: int) -> Iterator[int]:
    """One that reads the exporter each second, and is otherwise as shipped; the port that it answers on."""
    folder, port = root / _FOLDER, free_port()
    _ship(folder)
    config = yaml.safe_load((EXAMPLES / "prometheus.yaml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"{HOST}:{exporter_port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    data = f"data{port}"
    command = [
        "chroot", str(root), "prometheus", f"--config.file=/{_FOLDER}/prometheus.yml",
        f"--storage.tsdb.path=/{_FOLDER}/{data}", f"--web.listen-address={HOST}:{port}",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_ready(port), 30)
            yield port
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(folder / data)


def is_ready(port: int) -> bool:
    """Whether it answers queries: it listens before it has read its data."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _ship(folder: Path) -> None:
    """The files beside each other, under the names that docs/monitoring.md gives them."""
    folder.mkdir(exist_ok=True)
    (folder / _ALERTS).write_bytes((EXAMPLES / "prometheus-alerts.yaml").read_bytes())


def query(port: int, expression: str) -> list[dict[str, Any]]:
    path = f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_query_of_the_dashboard_has_an_answer_for_the_device(
    name: str, root: Path, broker: Mosquitto
) -> None:
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    with exporter(name, root, broker) as exporter_port, prometheus(root, exporter_port) as port:
        deadline_s = time.monotonic() + 40
        unanswered = set(queries)
        while unanswered:
            publish_once(broker.port, Message(TOPICS.health, encode(samples.health()), retain=True))
            for expression in tuple(unanswered):
                found = query(port, expression.replace("$device", ".*"))
                if [row["metric"].get("device") for row in found] == ["porch"]:
                    unanswered.remove(expression)
            assert time.monotonic() < deadline_s, unanswered
            time.sleep(1)
        labels = query(port, "edge_agent_uptime_s")[0]["metric"]
        assert labels.keys() == {"__name__", "device", "instance", "job"}


def promtool(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["chroot", str(root), "promtool", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_shipped_files_are_what_prometheus_takes(root: Path) -> None:
    folder = root / _FOLDER
    _ship(folder)
    (folder / "shipped.yml").write_bytes((EXAMPLES / "prometheus.yaml").read_bytes())
    checked = promtool(root, "check", "config", f"/{_FOLDER}/shipped.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "5 rules found" in checked.stdout


_STEADY = {
    "uptime_s": "0+60x90",
    "fps": "2+0x90",
    "mqtt_dropped_events": "0+0x90",
    "memory_rss_mb": "70+0x90",
    "memory_budget_mb": "128+0x90",
    "board_pace_percent": "100+0x90",
}
"""An hour and a half of a healthy device, a sample a minute."""


@pytest.mark.parametrize(
    ("alert", "changes", "value"),
    [
        ("", {}, ""),
        (
            "EdgeAgentSilent",
            {name: values.replace("x90", "x60 _x30") for name, values in _STEADY.items()},
            "",
        ),
        ("EdgeAgentNoFrames", {"fps": "2+0x70 0+0x20"}, ""),
        ("EdgeAgentLosesEvents", {"mqtt_dropped_events": "0+0x70 3+0x20"}, ""),
        ("EdgeAgentAboveBudget", {"memory_rss_mb": "70+0x60 150+0x30"}, "150"),
        ("EdgeAgentHot", {"board_pace_percent": "100+0x20 50+0x70"}, "50"),
    ],
    ids=["healthy", "silent", "no frames", "lost events", "above the budget", "hot"],
)
def test_each_alert_fires_for_what_it_is_meant_for_and_no_other_does(
    root: Path, alert: str, changes: dict[str, str], value: str
) -> None:
    folder = root / _FOLDER
    _ship(folder)
    given = [
        {"series": f'edge_agent_{name}{{device="porch"}}', "values": values}
        for name, values in (_STEADY | changes).items()
    ]
    rules = yaml.safe_load((folder / _ALERTS).read_text(encoding="utf-8"))["groups"][0]["rules"]
    wanted = []
    for rule in rules:
        fires = rule["alert"] == alert
        summary = rule["annotations"]["summary"]
        summary = summary.replace("{{ $labels.device }}", "porch").replace("{{ $value }}", value)
        expected = {"exp_labels": {"device": "porch"}, "exp_annotations": {"summary": summary}}
        wanted.append(
            {"eval_time": "89m", "alertname": rule["alert"], "exp_alerts": [expected] if fires else []}
        )
    tests = {
        "rule_files": [_ALERTS],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": given, "alert_rule_test": wanted}],
    }
    (folder / "tests.yml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    checked = promtool(root, "test", "rules", f"/{_FOLDER}/tests.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
