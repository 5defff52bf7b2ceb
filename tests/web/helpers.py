"""The page in front of an agent of the test's making, and clients that behave or do not."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.address import ListenAddress
from edge_agent.config.schema import Config, WebConfig
from edge_agent.errors import TeachError
from edge_agent.frame import WHOLE, Box
from edge_agent.inference import Prediction
from edge_agent.mqtt.contract.payloads import Health, Info, State
from edge_agent.mqtt.requests import LessonRequest
from edge_agent.pipeline.part import box_of
from edge_agent.system.clock import Clock, SystemClock
from edge_agent.web.agent_view import BusyError, HeadAnswer, Picture, Recognised
from edge_agent.web.connections import Limits, PageServer
from edge_agent.web.event_ring import EventRing
from edge_agent.web.history import History
from edge_agent.web.site import site
from tests.mqtt import samples

HOST = "127.0.0.1"
_MB = 1 << 20


@dataclass
class FakeAgent:
    """Says what the test sets."""

    config_file: Path = Path("/nowhere/edge-agent.yaml")
    present: tuple[State, ...] = (samples.state(),)
    how: Health | None = field(default_factory=samples.health)
    what: Info | None = field(default_factory=samples.info)
    settings: Config = field(default_factory=lambda: Config(device_id="porch"))
    frame: Picture | None = field(default_factory=lambda: Picture(7, b"a picture"))
    age_s: float = 0.1
    room: int = 64 * _MB
    is_busy: bool = False
    seen: list[tuple[int, ...]] = field(default_factory=list)
    taught: list[LessonRequest] = field(default_factory=list)
    events: EventRing = field(default_factory=lambda: EventRing(2))
    history: History = field(default_factory=History)

    def config(self) -> Config:
        return self.settings

    def states(self) -> tuple[State, ...]:
        return self.present

    def window(self) -> Box:
        return WHOLE

    def regions(self) -> dict[str, Box]:
        return {name: box_of(region) for name, region in self.settings.regions.items()}

    def health(self) -> Health | None:
        return self.how

    def info(self) -> Info | None:
        return self.what

    def last_frame_s(self) -> float:
        return self.age_s

    def picture(self, width: int) -> Picture | None:
        return replace(self.frame, jpeg=b"%d wide" % width) if self.frame else None

    def room_bytes(self) -> int:
        return self.room

    def classify(self, pixels: NDArray[np.uint8]) -> Recognised:
        if self.is_busy:
            raise BusyError("the agent is not classifying just now")
        self.seen.append(pixels.shape)
        return Recognised(
            Prediction(samples.TOP, 3.0, 80.0), (HeadAnswer("gate", samples.TOP[:1], "unsure"),)
        )

    def teach(self, lesson: LessonRequest) -> dict[str, Any]:
        self.taught.append(lesson)
        if lesson.label == "refused":
            raise TeachError("there is no such label")
        return {"labels": {"open": 1}, "problem": ""}

    def question_picture(self, region: str, number: int) -> bytes:
        return b"small" if (region, number) == ("", 3) else b""


@dataclass(frozen=True)
class Answer:
    """What the page has answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of an error."""
        return str(self.json["error"]["code"])


@dataclass(frozen=True)
class Client:
    """Asks a page at a port of this machine."""

    port: int

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """One request on a connection of its own; `content_type` becomes `content-type`."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())
        finally:
            connection.close()

    def raw(self, sent: bytes, timeout_s: float = 20.0) -> bytes:
        """Send bytes, and return what comes until the page closes the connection."""
        with socket.create_connection((HOST, self.port), timeout_s) as connection:
            received = b""
            try:
                connection.sendall(sent)
                while more := connection.recv(65536):
                    received += more
            except ConnectionError:
                pass
            return received


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    agent: FakeAgent,
    state_dir: Path,
    *,
    limits: Limits | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> Iterator[Client]:
    """The real server, with settings of section `web`."""
    port = free_port()
    application = site(WebConfig(**settings), agent, state_dir, clock or SystemClock())
    server = PageServer(ListenAddress(HOST, port), application, limits)
    server.start()
    try:
        yield Client(port)
    finally:
        server.close()
