"""The API, through the real server: what it answers is what its OpenAPI document says."""

from __future__ import annotations

import io
import json
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

from edge_agent.config.schema import Config, MqttConfig
from edge_agent.system.secret import Secret
from edge_agent.web import api
from edge_agent.web.event_ring import Event, EventRing
from tests.mqtt import samples
from tests.web.helpers import Answer, Client, FakeAgent

DOCUMENT: Any = json.loads((Path(api.__file__).parent / "static" / "openapi.json").read_text())


def jpeg(width: int = 64, height: int = 48, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 40, 40)).save(buffer, kind)
    return buffer.getvalue()


def hold_to_document(answer: Answer, path: str, method: str = "get") -> None:
    """The status is one that the document names, and the body as it says there."""
    responses = DOCUMENT["paths"][path][method]["responses"]
    response = responses[str(answer.status)]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    kind = answer.headers["content-type"].partition(";")[0]
    schema = response["content"][kind]["schema"]
    if kind == "application/json":
        jsonschema.validate(answer.json, schema)


_NOT_READ = ("/api/v1/classify", "/api/v1/settings", "/api/v1/teach", "/api/v1/question")
READ = [path for path in DOCUMENT["paths"] if not path.startswith(_NOT_READ)]


@pytest.mark.parametrize("path", READ)
def test_every_path_answers_as_the_document_says(client: Client, agent: FakeAgent, path: str) -> None:
    agent.events.add(Event(samples.changed(5), b"small"))
    agent.history.add(samples.health())
    answer = client.ask(path + ("?seq=5" if path.endswith("event.jpg") else ""))
    assert answer.status == 200
    hold_to_document(answer, path)


@pytest.mark.parametrize(
    "path", ["/api/v1/state", "/api/v1/health", "/api/v1/info", "/api/v1/frame.jpg", "/metrics", "/healthz"]
)
def test_an_agent_that_still_starts_says_so(client: Client, agent: FakeAgent, path: str) -> None:
    agent.present, agent.how, agent.what, agent.frame, agent.age_s = (), None, None, None, math.inf
    answer = client.ask(path)
    assert answer.status == 503
    hold_to_document(answer, path)
    assert int(answer.headers["retry-after"]) > 0


def test_no_secret_is_in_any_answer(client: Client, agent: FakeAgent) -> None:
    agent.settings = Config(device_id="porch", mqtt=MqttConfig(username="pi", password=Secret("raspberry")))
    agent.what = replace(samples.info(), config=agent.settings)
    for path in ("/", "/api/v1/config", "/api/v1/info", "/metrics"):
        assert b"raspberry" not in client.ask(path).body
    assert client.ask("/api/v1/config").json["config"]["mqtt"]["password"] == "***"


def test_a_picture_that_is_sent_is_classified(client: Client, agent: FakeAgent) -> None:
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        answer = client.ask("/api/v1/classify", "POST", jpeg(kind=kind))
        assert answer.json["top"][0] == {"label": "tabby", "index": 281, "score": 0.6124}
        assert answer.json["heads"][0]["why_unknown"] == "unsure"
        hold_to_document(answer, "/api/v1/classify", "post")
    assert agent.seen == [(48, 64, 3)] * 4


@pytest.mark.parametrize("body", [b"no picture", b"\xff\xd8\xff\xe0garbage", jpeg()[:200]])
def test_what_is_no_picture_is_refused(client: Client, agent: FakeAgent, body: bytes) -> None:
    answer = client.ask("/api/v1/classify", "POST", body)
    assert (answer.status, answer.code) == (422, "picture")
    hold_to_document(answer, "/api/v1/classify", "post")
    assert agent.seen == []


def test_a_picture_that_takes_too_much_memory_is_not_decoded(client: Client, agent: FakeAgent) -> None:
    agent.room = 9 << 20
    answer = client.ask("/api/v1/classify", "POST", jpeg(6000, 4000, "PNG"))
    assert answer.status == 507
    assert "MB of memory" in answer.json["error"]["message"]
    assert agent.seen == []


def test_an_empty_body_is_no_picture(client: Client) -> None:
    assert client.ask("/api/v1/classify", "POST").status == 400


def test_a_busy_agent_asks_for_patience(client: Client, agent: FakeAgent) -> None:
    agent.is_busy = True
    answer = client.ask("/api/v1/classify", "POST", jpeg())
    assert (answer.status, answer.code) == (503, "busy")
    assert int(answer.headers["retry-after"]) > 0


def test_events_are_waited_for(client: Client, agent: FakeAgent) -> None:
    agent.events.add(Event(samples.changed(5)))
    timer = threading.Timer(0.3, lambda: agent.events.add(Event(samples.changed(9, "tabby", "mug"))))
    timer.start()
    answer = client.ask("/api/v1/events?since=5&wait=20")
    timer.join()
    assert [(event["seq"], event["to"]) for event in answer.json["events"]] == [(9, "mug")]
    assert answer.json["newest"] == 9


def test_whom_no_thread_can_wait_for_is_answered_at_once(client: Client, agent: FakeAgent) -> None:
    agent.events = EventRing(0)
    answer = client.ask("/api/v1/events?wait=20").json
    assert (answer["events"], answer["next_ms"]) == ([], 1000)


@pytest.mark.parametrize("query", ["since=-1", "since=x", "wait=26", "since=9223372036854775808", "wait=²"])
def test_a_number_that_is_none_is_refused(client: Client, query: str) -> None:
    from urllib.parse import quote

    answer = client.ask(f"/api/v1/events?{quote(query, safe='=')}")
    assert (answer.status, answer.code) == (400, "malformed")


def test_an_unchanged_frame_is_not_sent_again(client: Client, agent: FakeAgent) -> None:
    first = client.ask("/api/v1/frame.jpg?width=320")
    assert first.body == b"320 wide"
    again = client.ask("/api/v1/frame.jpg?width=320", if_none_match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    agent.frame = replace(agent.frame, frame_id=8) if agent.frame else None
    assert client.ask("/api/v1/frame.jpg?width=320", if_none_match=first.headers["etag"]).status == 200


def test_a_region_is_asked_for_by_its_name(client: Client) -> None:
    assert client.ask("/api/v1/state?region=").status == 200
    assert client.ask("/api/v1/state?region=gate").status == 404


def test_it_is_unwell_when_no_frame_comes(client: Client, agent: FakeAgent) -> None:
    agent.age_s = 500.0
    assert client.ask("/healthz").status == 503
    health = samples.health()
    agent.how = replace(health, camera=replace(health.camera, state="paused"))
    assert client.ask("/healthz").status == 200


def test_another_method_is_told_which_ones_there_are(client: Client) -> None:
    refused = client.ask("/api/v1/state", "DELETE")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    assert client.ask("/api/v1/classify").headers["allow"] == "POST"


def test_how_old_the_newest_frame_is_is_said(agent: FakeAgent, client: Client) -> None:
    assert client.ask("/api/v1/states").json["age_s"] == 0.1
    agent.age_s = math.inf
    assert client.ask("/api/v1/states").json["age_s"] is None
