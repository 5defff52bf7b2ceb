"""What is in deploy/ works as it is shipped: three nodes with TLS and access lists, a site's mosquitto."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_agent.config.schema import MqttConfig, TlsConfig
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.contract.payloads import encode
from edge_agent.mqtt.wire.connection import Ack, Connection, SubscriptionRefused
from edge_agent.mqtt.wire.status import BrokerConnectionError, Trouble
from edge_agent.system.clock import SystemClock
from edge_agent.system.secret import Secret
from edge_agent.tools.fleet.backbone import Login
from tests.installed import program
from tests.mqtt import samples
from tests.mqtt.brokers import Mosquitto, free_port, wait_until
from tests.mqtt.wire.certificates import Authority
from tests.tools.fleet.nats import prepare

DEPLOY = Path(__file__).parents[3] / "deploy"
FLEET = "edge_agent_fleet"
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
_LONGEST_S = 30.0


def environment(directory: Path, number: int) -> dict[str, str]:
    """What systemd takes from the shipped node.env, with the names and certificates of this test."""
    host = HOSTS[number]
    values = {
        "NODE": f"nats{number + 1}",
        "NODE_HOST": host,
        "DATA": directory / f"data{number}",
        "TLS_CERT": directory / f"node{number}.crt",
        "TLS_KEY": directory / f"node{number}.key",
        "TLS_CA": directory / "fleet.crt",
    }
    shipped = shlex.split((DEPLOY / "systemd" / "node.env").read_text(), comments=True)
    names = [re.fullmatch(r'(\w+)="[^"]+"', line)[1] for line in shipped]  # type: ignore[index]
    assert sorted(names) == sorted(values)
    return os.environ | {name: f'"{values[name]}"' for name in names}


def prepared(directory: Path) -> Path:
    """The shipped files, with this test's addresses in routes.conf; returns the configuration."""
    authority = Authority(directory, "fleet")
    for number, host in enumerate(HOSTS):
        authority.issue(f"node{number}", address=host)
    shutil.copytree(DEPLOY / "nats", directory / "nats")
    routes = directory / "nats" / "routes.conf"
    text = routes.read_text()
    for number, host in enumerate(HOSTS):
        text = text.replace(f"nats{number + 1}.example", host)
    routes.write_text(text)
    return directory / "nats" / "nats-server.conf"


@contextmanager
def device(
    user: str, directory: Path, host: str, port: int, client: str = "", **changes: object
) -> Iterator[Connection]:
    settings = {"password": Secret("change-me"), "protocol": "3.1.1"} | changes
    settings.setdefault("tls", TlsConfig(enabled=True, ca_file=directory / "fleet.crt"))
    config = MqttConfig(host=host, port=port, username=user, **settings)  # type: ignore[arg-type]
    connection = Connection(config, client or f"edge-agent-{user}", "3.1.1", environment={})
    try:
        connection.open(SystemClock(), answer_timeout_s=15)
        yield connection
    finally:
        connection.close(goodbye=True)


def heard(connection: Connection, seconds: float) -> list[object]:
    """All that comes within that time."""
    found: list[object] = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        found += connection.step(0.2)
    return found


def refusals(connection: Connection, count: int) -> list[str]:
    """The first subscriptions that are refused."""
    found: list[str] = []
    end_s = time.monotonic() + _LONGEST_S
    while len(found) < count and time.monotonic() < end_s:
        found += [item.topic for item in connection.step(0.2) if isinstance(item, SubscriptionRefused)]
    return found


def received(connection: Connection, topic: str) -> Incoming:
    """The first message on that topic."""
    end_s = time.monotonic() + _LONGEST_S
    while time.monotonic() < end_s:
        for item in connection.step(0.2):
            if isinstance(item, Incoming) and item.topic == topic:
                return item
    raise AssertionError(f"nothing came on {topic}")


@pytest.mark.parametrize("number", range(3))
def test_nats_understands_the_configuration(tmp_path: Path, number: int) -> None:
    file = prepared(tmp_path)
    checked = subprocess.run(
        [program("nats-server"), "-t", "-c", file],
        env=environment(tmp_path, number), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


@contextmanager
def three_nodes(directory: Path) -> Iterator[None]:
    """As shipped, addresses apart; once `fleet watch` could make its streams, and each lets devices in."""
    file = prepared(directory)
    with ExitStack() as stack:
        for number in range(3):
            log = stack.enter_context((directory / f"node{number}.log").open("wb"))
            process = subprocess.Popen(
                [program("nats-server"), "-c", file],
                env=environment(directory, number),
                stdout=log,
                stderr=log,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        servers = tuple(f"tls://{host}:4222" for host in HOSTS)
        asyncio.run(prepare(Login(servers, "watch", "change-me", str(directory / "fleet.crt"))))
        for host in HOSTS:
            wait_until(partial(lets_in, directory, host), 60)
        yield


def lets_in(directory: Path, host: str) -> bool:
    return _trouble(directory, host) is None


@contextmanager
def watcher(directory: Path) -> Iterator[int]:
    """`fleet watch` as the shipped unit starts it, addresses and files apart; the port of its page."""
    unit = (DEPLOY / "systemd" / "edge-agent-fleet-watch.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    for number, host in enumerate(HOSTS):
        line = line.replace(f"nats{number + 1}.example", host)
    (directory / "password").write_text("change-me\n")
    line = line.replace("${CREDENTIALS_DIRECTORY}", str(directory))
    line = line.replace("/etc/nats/tls/ca.crt", str(directory / "fleet.crt"))
    words, port = shlex.split(line), free_port()
    assert words[0].endswith("/edge-agent")
    command = [sys.executable, "-m", "edge_agent", *words[1:], "--listen", f"127.0.0.1:{port}"]
    with (directory / "watch.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: "following" in (directory / "watch.log").read_text(), 60)
        yield port
    finally:
        process.kill()
        process.wait()


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


@pytest.mark.fleet
def test_three_nodes_let_each_device_do_its_own_and_the_watcher_read_all(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(three_nodes(tmp_path))
        port = stack.enter_context(watcher(tmp_path))
        _check_access(tmp_path)
        with device("porch", tmp_path, HOSTS[1], 8883) as elsewhere:
            elsewhere.subscribe("edge_agent/group/all/wanted", retained=True)
            assert received(elsewhere, "edge_agent/group/all/wanted").payload == b"signed"
            elsewhere.send(Message("edge_agent/porch/event", encode(samples.changed(1))))
            wait_until(lambda: f"{FLEET}_events_total 1\n" in metrics(port), 30)
        _check_bridge(tmp_path, stack, port)
        _check_strangers(tmp_path)


def _check_access(directory: Path) -> None:
    """A device speaks for itself alone, and hears its own requests and groups."""
    with (
        device("porch", directory, HOSTS[0], 8883) as porch,
        device("push", directory, HOSTS[2], 8883) as push,
    ):
        push.subscribe("edge_agent/+/health", retained=True)
        others = ["edge_agent/gate/health", "edge_agent/#", "#", "edge_agent/gate/request/#", "$MQTT/sub/#"]
        porch.subscribe("edge_agent/porch/request/#", "edge_agent/group/all/wanted", *others)
        assert refusals(porch, len(others)) == others
        porch.send(Message("edge_agent/porch/health", b"{}", retain=True))
        push.send(Message("edge_agent/group/all/wanted", b"signed", retain=True))
        assert received(porch, "edge_agent/group/all/wanted").payload == b"signed"
        assert received(push, "edge_agent/porch/health").payload == b"{}"
        porch.send(Message("edge_agent/gate/health", b"{}"))
        porch.send(Message("edge_agent/group/all/wanted", b"forged", retain=True))
        with suppress(BrokerConnectionError):
            heard(porch, 2)  # NATS may acknowledge, or hang up: what counts is that nobody hears it
        assert [item for item in heard(push, 2) if isinstance(item, Incoming)] == []


def _check_strangers(directory: Path) -> None:
    """Who has a wrong password, or no TLS, is not let in; a node that others vouch for is not trusted."""
    assert _trouble(directory, password=Secret("x")) is Trouble.CREDENTIALS
    assert _trouble(directory, tls=TlsConfig()) is not None
    (directory / "others").mkdir()
    Authority(directory / "others", "fleet")
    assert _trouble(directory / "others") is Trouble.TLS


def _trouble(directory: Path, host: str = HOSTS[0], **changes: Any) -> Trouble | None:
    """Why there is no connection; None where there is one."""
    try:
        with device("porch", directory, host, 8883, **changes):
            return None
    except BrokerConnectionError as error:
        return error.trouble


def _check_bridge(directory: Path, stack: ExitStack, watch: int) -> None:
    """What a device says at its site is heard at the nodes, its events are kept, and what groups are to have
    comes back."""
    port = free_port()
    (directory / "site").mkdir()
    stack.enter_context(Mosquitto(directory / "site" / "broker", _bridge(directory, port), port))
    push = stack.enter_context(device("push", directory, HOSTS[1], 8883, "push-behind"))
    gate = stack.enter_context(device("gate", directory / "site", "127.0.0.1", port))
    push.subscribe("edge_agent/+/health")
    gate.subscribe("edge_agent/group/all/wanted", retained=True)
    heard(push, 3)
    arrived: list[object] = []
    end_s = time.monotonic() + 60
    while b"behind" not in [item.payload for item in arrived if isinstance(item, Incoming)]:
        assert time.monotonic() < end_s
        gate.send(Message("edge_agent/gate/health", b"behind"))
        arrived += heard(push, 1)
        heard(gate, 0.5)
    gate.send(Message("edge_agent/gate/region/door/event", encode(samples.changed(7))))
    heard(gate, 1)
    wait_until(lambda: f"{FLEET}_events_total 2\n" in metrics(watch), 30)
    push.send(Message("edge_agent/group/all/wanted", b"newer", retain=True))
    heard(push, 1)
    assert b"newer" in [item.payload for item in heard(gate, 5) if isinstance(item, Incoming)]


def _bridge(directory: Path, port: int) -> str:
    """The shipped site with its bridge to the three nodes of this test."""
    text = (DEPLOY / "mosquitto" / "bridge.conf").read_text()
    for number, host in enumerate(HOSTS):
        text = text.replace(f"nats{number + 1}.example", host)
    text = text.replace("/etc/mosquitto/certs/ca.crt", str(directory / "fleet.crt"))
    return site(directory / "site", port) + text


def site(directory: Path, port: int) -> str:
    """The shipped lines for mosquitto, with this test's files and port."""
    Authority(directory, "fleet").issue("server")
    passwords = directory / "passwords"
    passwords.touch(0o644)
    for user in ("porch", "gate", "push", "reader"):
        subprocess.run([program("mosquitto_passwd"), "-b", passwords, user, "change-me"], check=True)
    text = (DEPLOY / "mosquitto" / "site.conf").read_text()
    for there, here in (
        ("listener 8883", f"listener {port} 127.0.0.1"),
        ("/etc/mosquitto/certs/", f"{directory}/"),
        ("/etc/mosquitto/passwords", str(passwords)),
        ("/etc/mosquitto/edge-agent.acl", str(DEPLOY / "mosquitto" / "edge-agent.acl")),
        ("/var/lib/mosquitto/", f"{directory}/"),
    ):
        assert there in text
        text = text.replace(there, here)
    return text


def test_a_site_s_mosquitto_lets_each_device_do_its_own(tmp_path: Path) -> None:
    port = free_port()
    with (
        Mosquitto(tmp_path / "broker", site(tmp_path, port), port),
        device("porch", tmp_path, "127.0.0.1", port) as porch,
        device("reader", tmp_path, "127.0.0.1", port) as reader,
    ):
        reader.subscribe("edge_agent/#")
        porch.subscribe("edge_agent/gate/#", "edge_agent/porch/request/#")
        heard(porch, 1)
        mids = [
            porch.send(Message("edge_agent/gate/state", b"forged")),
            porch.send(Message("edge_agent/group/all/wanted", b"forged", retain=True)),
            porch.send(Message("edge_agent/porch/state", b"mine")),
        ]
        acks: list[object] = []
        wait_until(lambda: acks.extend(porch.step(0.2)) or sum(isinstance(a, Ack) for a in acks) == len(mids))  # type: ignore[func-returns-value]
        assert [item.payload for item in heard(reader, 2) if isinstance(item, Incoming)] == [b"mine"]


def test_prometheus_s_files_name_metrics_that_there_are() -> None:
    from edge_agent.tools.fleet.devices import Device
    from edge_agent.tools.fleet.page import metrics

    shown = metrics([Device("porch")], {}, 0)
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"][0]["rules"]
    for rule in rules:
        for name in re.findall(r"edge_agent_fleet_\w+", rule["expr"]):
            assert f"# TYPE {name} " in shown, name
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    assert scraped["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:8385"]


def test_systemd_understands_what_is_added_to_debian_s_unit(tmp_path: Path) -> None:
    unit = tmp_path / "nats-server.service"
    unit.write_text("[Service]\nType=simple\nExecStart=/usr/sbin/nats-server -c /etc/nats-server.conf\n")
    added = tmp_path / f"{unit.name}.d" / "edge-agent.conf"
    added.parent.mkdir()
    text = (DEPLOY / "systemd" / "nats-server.conf").read_text()
    added.write_text(text.replace("/usr/sbin/nats-server", program("nats-server")))
    checked = subprocess.run(
        [program("systemd-analyze"), "verify", unit], capture_output=True, text=True, check=False
    )
    assert [line for line in checked.stderr.splitlines() if str(tmp_path) in line] == []


def test_systemd_understands_the_unit_of_the_watcher(tmp_path: Path) -> None:
    unit = tmp_path / "edge-agent-fleet-watch.service"
    text = (DEPLOY / "systemd" / unit.name).read_text()
    unit.write_text(text.replace("/opt/edge-agent-fleet/bin/edge-agent", "/bin/true"))
    checked = subprocess.run(
        [program("systemd-analyze"), "verify", unit], capture_output=True, text=True, check=False
    )
    assert [line for line in checked.stderr.splitlines() if f"{unit.name}:" in line] == []
