"""What the daemon does without, shown on fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mqtt.brokers import HOST, Mosquitto, free_port

IMPORT = """
import os, sys
from edge_agent.system.lean_imports import import_paho
import_paho(os.environ, tls=False)
from edge_agent.daemon.agent import run_agent
"""
PROXIES = ("http_proxy", "HTTPS_PROXY", "all_proxy", "mqtt_proxy", "no_proxy")


def run(script: str, **variables: str) -> str:
    """Run a script in a fresh interpreter with those variables and no proxy; returns what it prints."""
    environment = {key: text for key, text in os.environ.items() if not key.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=environment | variables,
    )
    return done.stdout.strip()


def test_without_tls_openssl_is_not_loaded_and_hashes_are_the_same() -> None:
    script = f"""{IMPORT}
import hashlib
print(hashlib.sha256(b"abc").hexdigest()[:8], "libssl" in open("/proc/self/maps").read())
"""
    assert run(script) == "ba7816bf False"


def test_what_is_loaded_already_is_left_alone() -> None:
    script = """
import os, ssl, urllib.request
from edge_agent.system.lean_imports import import_paho
import_paho(os.environ, tls=False)
import paho.mqtt.client, ssl
print(paho.mqtt.client.ssl is ssl, paho.mqtt.client.urllib.request is urllib.request)
"""
    assert run(script) == "True True"


def test_without_a_proxy_the_daemon_loads_no_http_client() -> None:
    script = (
        f"{IMPORT}print([name for name in ('urllib.request', 'http.client', 'email') if name in sys.modules])"
    )
    assert run(script) == "[]"


@pytest.mark.parametrize("variable", PROXIES)
def test_with_a_proxy_paho_looks_for_it_as_ever(variable: str) -> None:
    script = f"{IMPORT}import paho.mqtt.client as c\nprint(c.urllib.request is sys.modules['urllib.request'])"
    assert run(script, **{variable: "http://proxy:3128"}) == "True"


def test_others_can_still_load_the_http_client() -> None:
    assert run(f"{IMPORT}from urllib.request import Request\nprint(Request('http://x/').host)") == "x"


def connect(broker: Mosquitto, settings: str = "", *, tls: bool = False, ahead: str = "") -> str:
    """How a fresh interpreter fares with the broker: `None` is no trouble."""
    return run(f"""
import os, sys
{ahead}
from edge_agent.system.lean_imports import import_paho
import_paho(os.environ, tls={tls})
from edge_agent.config.schema import MqttConfig
from edge_agent.mqtt.wire.probe import probe
from edge_agent.system.clock import SystemClock
config = MqttConfig(host="127.0.0.1", port={broker.port}, {settings})
(found,) = probe(config, "porch", SystemClock())
print(found.trouble)
""")


@pytest.mark.parametrize("tls", [True, False])
def test_a_broker_is_reached_with_what_is_left_of_paho(broker: Mosquitto, tls: bool) -> None:
    assert connect(broker, tls=tls) == "None"


def test_websockets_need_nothing_that_was_left_out(tmp_path: Path) -> None:
    port = free_port()
    plain = f"listener {free_port()} {HOST}\n"  # without one, mosquitto 2.0.11 does not start
    with Mosquitto(tmp_path, f"{plain}listener {port} {HOST}\nprotocol websockets\n", port=port) as broker:
        assert connect(broker, 'transport="websockets"') == "None"


def test_where_pysocks_is_installed_paho_asks_the_stand_in(broker: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "socks.py").write_text("HTTP = SOCKS4 = SOCKS5 = 1\ndef get_default_proxy(): pass\n")
    ahead = f"sys.path.insert(0, {str(tmp_path)!r}); import socks"
    assert connect(broker, ahead=ahead) == "None"
