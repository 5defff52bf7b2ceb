"""The owner's page of the running daemon."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from edge_agent.errors import EXIT_OK
from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import NAMES, PROMPT_S, RIGHT, receive
from tests.mqtt.brokers import Mosquitto
from tests.web.helpers import HOST, Client, free_port


def until(get: Callable[[], Any], accept: Callable[[Any], bool]) -> Any:
    """Ask again and again until the answer is accepted."""
    deadline_s = time.monotonic() + 6 * PROMPT_S
    while not accept(found := get()):
        assert time.monotonic() < deadline_s, found
        time.sleep(0.1)
    return found


@pytest.fixture
def page(start: StartDaemon, subscriber: Subscriber) -> Client:
    port = free_port()
    start(
        web={"enabled": True, "listen": f"{HOST}:{port}"},
        source={"fps": 5},
        publish={"event_image": True},
        memory={"check_interval_s": 0.5},
    )
    receive(subscriber, "state")
    return Client(port)


def test_it_shows_what_subscribers_receive(page: Client, subscriber: Subscriber, broker: Mosquitto) -> None:
    changed = receive(subscriber, "event")
    events = page.ask(f"/api/v1/events?since={changed['seq'] - 1}&wait=5").json["events"]
    assert events[0]["seq"] == changed["seq"]
    assert events[0]["to"] == changed["to"]
    assert page.ask("/api/v1/state").json["top"]
    pictured = until(
        lambda: page.ask("/api/v1/events").json["events"], lambda found: any(e["has_picture"] for e in found)
    )
    seq = next(event["seq"] for event in pictured if event["has_picture"])
    assert page.ask(f"/api/v1/event.jpg?seq={seq}").body.startswith(b"\xff\xd8")
    assert page.ask("/api/v1/frame.jpg?width=320").body.startswith(b"\xff\xd8")
    assert page.ask("/healthz").status == 200
    assert page.ask("/api/v1/info").json["model"]["name"]
    broker.stop()
    health = until(lambda: page.ask("/api/v1/health").json, lambda found: not found["mqtt"]["connected"])
    assert health["mqtt"]["last_error"]
    assert b"edge_agent_broker_connected 0.0" in page.ask("/metrics").body


def test_a_picture_that_is_sent_has_the_right_label_and_frames_go_on(
    page: Client, subscriber: Subscriber
) -> None:
    for name in NAMES[:3]:
        answer = page.ask("/api/v1/classify", "POST", (PICTURES_DIR / name).read_bytes())
        assert answer.json["top"][0]["label"] in RIGHT[name]
    before = receive(subscriber, "state")["frame"]["id"]
    assert receive(subscriber, "state", lambda state: state["frame"]["id"] > before + 1)


def test_the_page_ends_with_the_agent_and_shows_kept_events_when_it_comes_back(
    start: StartDaemon, subscriber: Subscriber
) -> None:
    port = free_port()
    web = {"enabled": True, "listen": f"{HOST}:{port}", "events_mb": 1}
    daemon = start(web=web, publish={"event_image": True})
    receive(subscriber, "event")
    shown = until(lambda: Client(port).ask("/api/v1/events").json["events"], bool)[0]
    daemon.send(signal.SIGTERM)
    assert daemon.wait() == EXIT_OK
    with pytest.raises(ConnectionError):
        Client(port).ask("/")
    receive(subscriber, "availability", lambda text: text == "offline")
    daemon.start()
    receive(subscriber, "availability", lambda text: text == "online")
    receive(subscriber, "state")
    kept = Client(port).ask("/api/v1/events").json["events"][0]
    assert kept == shown
    assert Client(port).ask(f"/api/v1/event.jpg?seq={kept['seq']}").body.startswith(b"\xff\xd8")


def test_an_address_that_is_taken_does_not_stop_the_agent(
    start: StartDaemon, subscriber: Subscriber, broker: Mosquitto
) -> None:
    daemon = start(web={"enabled": True, "listen": f"{HOST}:{broker.port}"})
    assert receive(subscriber, "state")
    assert f"the page cannot listen on {HOST}:{broker.port}: Address already in use" in daemon.log
