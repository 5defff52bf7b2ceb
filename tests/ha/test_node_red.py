"""The shipped flow in the real Node-RED: it passes on every event once, and those of its absence too."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.payloads import encode
from edge_agent.mqtt.wire.connection import Ack, Connection
from tests.ha.conftest import EXAMPLES
from tests.ha.ending import end
from tests.mqtt.brokers import HOST, Mosquitto, free_port
from tests.mqtt.helpers import connected
from tests.mqtt.samples import TOPICS, broker_config, changed

_START_S = 90.0
_STOP_S = 20.0


class NodeRed:
    """Node-RED with the shipped flow, but for the broker's address; the debug nodes write on its output."""

    def __init__(self, root: Path, broker_port: int) -> None:
        self._root = root
        self._directory = "/tmp/edge-agent-node-red"
        files = root / self._directory.lstrip("/")
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir(parents=True)
        self._log = files / "out"
        nodes = json.loads((EXAMPLES / "node-red-flow.json").read_text(encoding="utf-8"))
        for node in nodes:
            if node["type"] == "mqtt-broker":
                node |= {"broker": HOST, "port": str(broker_port)}
            if node["type"] == "debug":
                node["console"] = True
        (files / "flows.json").write_text(json.dumps(nodes))
        (files / "settings.js").write_text(
            f'module.exports = {{flowFile: "flows.json", uiHost: "{HOST}", uiPort: {free_port()},'
            " httpAdminRoot: false, telemetry: {enabled: false}};\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def passed(self) -> list[int]:
        """The numbers of the events that the flow has passed on."""
        return [int(number) for number in re.findall(r"\bseq: (\d+)", self.log)]

    def start(self) -> None:
        """Return when it is connected to the broker."""
        connected = self.log.count("Connected to broker") if self._log.exists() else 0
        command = ["chroot", str(self._root), "/usr/bin/env", "-i", "PATH=/usr/bin:/bin", "HOME=/root"]
        command += ["/opt/node-red/node_modules/.bin/node-red", "--userDir", self._directory]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.wait(lambda: self.log.count("Connected to broker") > connected, _START_S)

    def stop(self) -> None:
        """End it in good order, as its service is stopped."""
        if self._process is not None:
            end(self._process, signal.SIGINT, _STOP_S)
            self._process = None

    def wait(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, self.log
            time.sleep(0.05)


@pytest.fixture
def node_red(root: Path, broker: Mosquitto) -> Iterator[NodeRed]:
    running = NodeRed(root, broker.port)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def agent(broker: Mosquitto) -> Iterator[Connection]:
    with connected(broker_config(broker.port)) as connection:
        yield connection


def send(agent: Connection, *seqs: int, label: str = "cat") -> None:
    """Publish events, and wait until the broker has them."""
    waiting = {agent.send(Message(TOPICS.event, encode(changed(seq, "dog", label)))) for seq in seqs}
    while waiting:
        waiting -= {item.mid for item in agent.step(5) if isinstance(item, Ack)}


def test_no_event_is_missed_over_an_orderly_stop_and_none_comes_twice(
    node_red: NodeRed, broker: Mosquitto, agent: Connection
) -> None:
    node_red.wait(lambda: f"{TOPICS.root.split('/')[0]}/+/event" in broker.log.read_text())
    time.sleep(0.5)
    send(agent, 1, 2, 3)
    node_red.wait(lambda: node_red.passed == [1, 2, 3])
    node_red.stop()
    send(agent, *range(4, 24))
    node_red.start()
    node_red.wait(lambda: len(node_red.passed) >= 23)
    send(agent, 24, 24, 23)
    send(agent, 25, label="fox")
    agent.send(Message(TOPICS.event, b"no JSON"))
    agent.send(Message(TOPICS.event, b"null"))
    send(agent, 1000)
    node_red.wait(lambda: 1000 in node_red.passed)
    assert node_red.passed == [*range(1, 25), 1000]


def test_numbers_that_begin_again_are_passed_on(node_red: NodeRed, agent: Connection) -> None:
    time.sleep(0.5)
    send(agent, 5000, 5001, 1, 2)
    node_red.wait(lambda: node_red.passed[-4:] == [5000, 5001, 1, 2])
