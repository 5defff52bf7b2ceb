"""The shipped dashboard and alerts, with a real Prometheus that scrapes a real watcher and a real daemon."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.payloads import encode
from edge_agent.web.token_file import TokenFile
from tests.daemon.conftest import StartDaemon, settings, start
from tests.daemon.helpers import DEVICE
from tests.installed import program
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, free_port, wait_until
from tests.tools.fleet.nats import Node
from tests.tools.fleet.test_watch import PORT, get, say, watching

__all__ = ["settings", "start"]

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "edge-agent.json").read_text(encoding="utf-8"))


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_each_panel_is_whole_and_none_lies_on_another() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in panels():
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert [target["legendFormat"] for target in panel["targets"]]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs))
        for target in panel["targets"]:
            assert set(re.findall(r"\$\w+", target["expr"])) <= {"$device"}
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["source", "device"]


def test_promtool_finds_nothing_wrong(tmp_path: Path) -> None:
    tool = program("promtool")
    for file in (DEPLOY / "prometheus").iterdir():
        (tmp_path / file.name).write_text(with_device(file.read_text(), "porch.example:8384"))
    (tmp_path / "porch-token").write_text("secret")
    subprocess.run([tool, "check", "config", tmp_path / "prometheus.yaml"], check=True)
    subprocess.run([tool, "check", "rules", tmp_path / "alerts.yaml"], check=True)


FLEET = "edge_agent_fleet_"
GOOD = {
    'up{job="edge-agent-fleet", instance="a"}': 1,
    f'{FLEET}up{{device="porch", instance="a"}}': 1,
    f'{FLEET}refuses{{device="porch"}}': 0,
    f'{FLEET}unknown_percent{{device="porch"}}': 5,
    f'{FLEET}queued_events{{device="porch"}}': 0,
}


@pytest.mark.parametrize(
    ("alert", "changes"),
    [
        (None, {}),
        # One instance that has lost NATS says a device is gone; another knows better.
        (None, {f'{FLEET}up{{device="porch", instance="b"}}': 0}),
        ("FleetDeviceGone FleetManyGone", {f'{FLEET}up{{device="porch", instance="a"}}': 0}),
        ("FleetDeviceRefuses", {f'{FLEET}refuses{{device="porch"}}': 1}),
        ("FleetDeviceKnowsLittle", {f'{FLEET}unknown_percent{{device="porch"}}': 95}),
        ("FleetEventsWait", {f'{FLEET}queued_events{{device="porch"}}': 200}),
        ("FleetWatchGone", {'up{job="edge-agent-fleet", instance="a"}': 0}),
    ],
)
def test_an_alert_fires_when_it_should_and_no_other_does(
    alert: str | None, changes: dict[str, int], tmp_path: Path
) -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"][0]["rules"]
    fired = (alert or "").split()
    values = {**GOOD, **changes}
    series = [{"series": name, "values": f"{value}x120"} for name, value in values.items()]
    expected = [
        {
            "expr": f'count(ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}}) or vector(0)',
            "eval_time": "2h",
            "exp_samples": [{"labels": "{}", "value": int(rule["alert"] in fired)}],
        }
        for rule in rules
    ]
    cases = [{"interval": "1m", "input_series": series, "promql_expr_test": expected}]
    document = {"rule_files": [str(DEPLOY / "prometheus" / "alerts.yaml")], "tests": cases}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
    checked = subprocess.run(
        [program("promtool"), "test", "rules", tmp_path / "test.yaml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def with_device(text: str, target: str) -> str:
    """prometheus.yaml with the job of a device, which is shipped as a comment."""
    return re.sub(r"^  #(- |  )", r"  \1", text, flags=re.MULTILINE).replace("porch.example:8384", target)


@contextmanager
def prometheus(directory: Path, device: str, token: str) -> Iterator[int]:
    """With the shipped files, but for addresses, the device's name and the pace; the port it answers on."""
    directory.mkdir()
    for file in (DEPLOY / "prometheus").iterdir():
        text = with_device(file.read_text(), device).replace("127.0.0.1:8385", f"{HOST}:{PORT}")
        (directory / file.name).write_text(text)
    (directory / "porch-token").write_text(token)
    config = yaml.safe_load((directory / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["scrape_interval"] = "1s"
    config["scrape_configs"][1]["static_configs"][0]["labels"]["device"] = DEVICE
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        program("prometheus"), f"--config.file={directory / 'prometheus.yaml'}",
        f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address={HOST}:{port}",
    ]  # fmt: skip
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory / "data", ignore_errors=True)


def asked(port: int, path: str, **query: str) -> Any:
    """What the API of Prometheus answers; empty while it starts. Raises HTTPError for a wrong expression."""
    url = f"http://{HOST}:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.loads(answer.read())["data"]
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return {}
        raise AssertionError(f"{query}: {error.read().decode()}") from error
    except OSError:
        return {}


def has_answer(port: int, query: str) -> bool:
    return bool(asked(port, "query", query=query).get("result"))


def alerts(port: int) -> list[str]:
    """What Prometheus thinks of each rule."""
    return [rule["health"] for rule in asked(port, "rules")["groups"][0]["rules"]]


@pytest.mark.fleet
def test_every_query_of_the_dashboard_has_an_answer_and_every_alert_is_understood(
    start: StartDaemon, tmp_path: Path
) -> None:
    web = free_port()
    with Node(tmp_path / "nats", "n1") as node, watching(node, tmp_path / "watch.log", "following"):
        daemon = start(
            mqtt={"port": node.mqtt_port, "protocol": "3.1.1"},
            source={"fps": 5},
            web={"enabled": True, "listen": f"{HOST}:{web}", "token": "always"},
        )
        token = TokenFile(daemon.state_dir).make()
        # This machine may know no temperature: another device says one.
        say(node, Message("edge_agent/board/health", encode(samples.health()), retain=True))
        wait_until(lambda: f'edge_agent_fleet_info{{device="{DEVICE}"' in get("/metrics"), 60)
        with prometheus(tmp_path / "prometheus", f"{HOST}:{web}", token) as port:
            wait_until(lambda: len(asked(port, "targets").get("activeTargets", [])) == 2, 60)
            for expression in expressions():
                wait_until(partial(has_answer, port, expression.replace("$device", ".*")), 60)
            wait_until(lambda: alerts(port) == ["ok"] * 6, 60)
            (sample,) = asked(port, "query", query=f'edge_agent_fleet_up{{device="{DEVICE}"}}')["result"]
            assert sample["value"][1] == "1"
            found = asked(port, "label/device/values", **{"match[]": "edge_agent_fleet_up"})
            assert found == sorted(["board", DEVICE])
