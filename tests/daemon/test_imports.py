"""Which modules a whole life of the real daemon imports."""

from __future__ import annotations

import os
import signal

import pytest

from edge_agent.errors import EXIT_OK
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import receive

REPORTING = ("-X", "importtime", "-m", "edge_agent")
COSTLY = {"urllib.request", "http.client", "email", "asyncio", "torch", "cv2", "waitress", "edge_agent.web"}


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_proxy")
def test_the_lean_agent_imports_nothing_costly(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start(program=REPORTING, model={"engine": "xnnpack"})
    receive(subscriber, "health")
    daemon.send(signal.SIGTERM)
    assert daemon.wait() == EXIT_OK
    lines = [line for line in daemon.log.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "paho.mqtt.client" in imported
    assert imported & COSTLY == set()
