"""The real daemon with its page, and a browser that looks at it."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from os import environ
from pathlib import Path

import pytest

from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import StartDaemon, settings, start, subscriber
from tests.daemon.helpers import receive
from tests.daemon.process import Daemon
from tests.web.browser.browser import Browser, browser
from tests.web.helpers import HOST, Client, free_port

__all__ = ["settings", "start", "subscriber"]


@dataclass(frozen=True)
class Served:
    """A daemon, and where its page is."""

    daemon: Daemon
    client: Client

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.client.port}/"


@pytest.fixture
def served(start: StartDaemon, subscriber: Subscriber) -> Served:
    """Two pictures a second, all of them changes of the label."""
    port = free_port()
    daemon = start(
        web={"enabled": True, "listen": f"{HOST}:{port}", "allow_edit": True, "allow_teach": True},
        source={"fps": 1},
        publish={"event_image": True},
    )
    receive(subscriber, "state")
    return Served(daemon, Client(port))


@pytest.fixture
def window() -> Iterator[Browser]:
    with browser() as opened:
        opened.resize(1280, 900)
        yield opened


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core. Skips the test where there is none."""
    archive = environ.get("AXE", "")
    if not Path(archive).is_file():
        pytest.skip("axe-core is not here: `make web-test` fetches it")
    with tarfile.open(archive) as packed:
        member = packed.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()
