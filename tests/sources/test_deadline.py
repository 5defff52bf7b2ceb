"""One deadline for whatever a camera in the network keeps waiting, the look-up of its name included."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from edge_agent.config.address import rtsp_address
from edge_agent.errors import SourceError
from edge_agent.sources.deadline import Deadline
from edge_agent.sources.http.client import Client
from edge_agent.sources.rtsp_probe import require_stream
from edge_agent.system.lookup import Lookup
from tests.resolver import HangingResolver


@pytest.fixture
def lookup() -> Iterator[Lookup]:
    with HangingResolver() as resolver:
        yield Lookup(resolver)


def test_an_http_camera_whose_name_server_hangs(lookup: Lookup) -> None:
    client = Client("http://camera.home/", lookup=lookup)
    started_s = time.monotonic()
    client.deadline = Deadline(0.2)
    with pytest.raises(OSError, match="the name server does not answer"):
        client.get()
    assert time.monotonic() - started_s < 1


def test_an_rtsp_camera_whose_name_server_hangs(lookup: Lookup) -> None:
    started_s = time.monotonic()
    with pytest.raises(SourceError, match=r"camera\.home:554: the name server does not answer"):
        require_stream(rtsp_address("rtsp://camera.home/"), 0.2, lookup=lookup)
    assert time.monotonic() - started_s < 1
