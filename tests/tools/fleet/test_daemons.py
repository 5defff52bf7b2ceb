"""`fleet push` changes real daemons through three nodes of NATS, and takes back what makes them worse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import main
from edge_agent.errors import EXIT_FAILURE, EXIT_OK
from edge_agent.mqtt.contract.message import Incoming
from edge_agent.teach import head_file
from edge_agent.tools.demo.subscriber import Subscriber
from edge_agent.tools.fleet.backbone import Login
from edge_agent.tools.fleet.key import make_key
from tests.daemon.conftest import Ask, StartDaemon, ask, settings, start, subscriber
from tests.daemon.helpers import DEVICE, receive
from tests.daemon.process import Daemon
from tests.mqtt.brokers import HOST, collect
from tests.tools.fleet.nats import Cluster, Node, prepare

__all__ = ["ask", "settings", "start", "subscriber"]

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]

NAMES = (DEVICE, "gate", "yard")


class Port:
    """What the fixtures of the daemon ask of a broker."""

    def __init__(self, node: Node) -> None:
        self.port = node.mqtt_port


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Port]:
    with Cluster(tmp_path / "nats") as cluster:
        asyncio.run(prepare(Login(cluster.urls)))
        yield Port(cluster.nodes[0])


def started(start: StartDaemon, public_key: str) -> dict[str, Daemon]:
    """Three daemons of one group, each of which looks at the same pictures."""
    return {
        name: start(
            device_id=name,
            mqtt={"protocol": "3.1.1"},
            source={"fps": 5},
            publish={"health_interval_s": 3},
            memory={"budget_mb": 200},
            control={"enabled": True},
            fleet={"groups": ["porches"], "public_key": public_key},
        )
        for name in NAMES
    }


def taught(daemon: Daemon, ask: Ask, subscriber: Subscriber, label: str) -> Path:
    """Teach what the daemon sees now, and let it forget that; returns a copy of its head."""
    ask("teach/add", transaction=f"add {label}", label=label)
    receive(subscriber, "state", lambda state: state["label"] == label)
    head = daemon.directory / f"{label}.head"
    head.write_bytes((daemon.state_dir / "teach" / "frame" / "head").read_bytes())
    ask("teach/undo", transaction=f"undo {label}")
    receive(subscriber, "state", lambda state: state["label"] != label)
    return head


def wait_all(infos: Subscriber, accept: Callable[[dict[str, Any]], bool]) -> None:
    """Return once what each device says of itself is that.

    `infos` is there all the time: who comes to NATS just when something changes may get what was kept before.
    """
    said: dict[str, dict[str, Any]] = {}

    def is_it(message: Incoming) -> bool:
        said[message.topic.split("/")[1]] = json.loads(message.payload)
        return len(said) == len(NAMES) and all(map(accept, said.values()))

    collect(infos, is_it, 30)


def is_calm(info: dict[str, Any]) -> bool:
    groups = [(group["revision"], group["heads"]) for group in info["groups"]]
    return groups == [("calm", [])] and info["config"]["publish"]["heartbeat_s"] == 30


def is_to_be_taught(info: dict[str, Any]) -> bool:
    return [group["revision"] for group in info["groups"]] == ["taught"]


def test_a_good_change_reaches_all_and_a_bad_head_is_stopped_at_the_first_and_taken_back(
    start: StartDaemon, ask: Ask, broker: Port, subscriber: Subscriber, tmp_path: Path
) -> None:
    daemons = started(start, make_key(tmp_path / "owner.pem"))
    receive(subscriber, "state")
    # Taught with two pictures alone, it calls all others unknown.
    heads = [taught(daemons[DEVICE], ask, subscriber, label) for label in ("in", "out")]
    bad = tmp_path / "bad.head"
    assert main(["fleet", "merge", "--output", str(bad), *map(str, heads)]) == EXIT_OK
    assert head_file.load(bad).labels == ("in", "out")
    (tmp_path / "broker.yaml").write_text(f"mqtt: {{host: {HOST}, port: {broker.port}, protocol: '3.1.1'}}\n")
    push = [
        "fleet", "push", "--config", str(tmp_path / "broker.yaml"), "--key", str(tmp_path / "owner.pem"),
        "--group", "porches", "--state", str(tmp_path / "fleet"), "--watch-s", "10", "--take-s", "60",
    ]  # fmt: skip
    with Subscriber(HOST, broker.port, "edge_agent/+/info") as infos:
        assert main([*push, "--name", "calm", "publish.heartbeat_s=30"]) == EXIT_OK
        wait_all(infos, is_calm)
        assert main([*push, "--name", "taught", "--head", f"frame={bad}"]) == EXIT_FAILURE
        wait_all(infos, is_to_be_taught)
        wait_all(infos, is_calm)
    lines = [json.loads(line) for line in (tmp_path / "fleet" / "audit.jsonl").read_text().splitlines()]
    assert [line["what"] for line in lines[-3:]] == ["begun", "wave", "taken back"]
    assert len(lines[-2]["devices"]) == 1
    assert "unknown rose" in lines[-1]["reasons"][0]
    receive(subscriber, "state", lambda state: not state["unknown"])
