"""Cameras in the network, with the daemon as its users meet it."""

from __future__ import annotations

import time

from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import RIGHT, receive
from tests.sources.http_camera import PASSWORD, Answer, Request, digest, http_camera, part, stream


def mjpeg(name: str) -> Answer:
    """A stream of twenty pictures a second, all the same."""
    picture = (PICTURES_DIR / name).read_bytes()

    def answer(request: Request) -> None:
        stream(request)
        while True:
            request.send(b"--cut\r\n" + part(picture, f"Content-Length: {len(picture)}"))
            time.sleep(0.05)

    return answer


def test_a_camera_over_http_is_classified_and_its_outage_is_seen_and_survived(
    start: StartDaemon, subscriber: Subscriber
) -> None:
    source = {"type": "http", "fps": 5, "reopen_max_s": 1, "frozen_after_s": 0}
    with http_camera(mjpeg("dog.jpg")) as camera:
        daemon = start(source=source | {"http": {"url": camera.url("/stream")}})
        assert receive(subscriber, "state")["label"] in RIGHT["dog.jpg"]
    health = receive(subscriber, "health", lambda health: health["camera"]["state"] == "reopening")
    assert f"the camera at 127.0.0.1:{camera.port}" in health["camera"]["last_error"]
    with http_camera(mjpeg("cat.jpg"), port=camera.port):
        state = receive(subscriber, "state", lambda state: state["label"] in RIGHT["cat.jpg"])
        assert state["score"] > 0.2
        health = receive(subscriber, "health", lambda health: health["camera"]["state"] == "running")
        assert (health["camera"]["reopened"], health["camera"]["source"]) == (1, "http")
        snapshot = digest("MD5", picture=(PICTURES_DIR / "goldfish.jpg").read_bytes())
        with http_camera(snapshot) as other:
            daemon.edit(source={"http": {"url": other.url("/snapshot.jpg", f"me:{PASSWORD}")}})
            info = receive(subscriber, "info", lambda info: "***" in info["config"]["source"]["http"]["url"])
            receive(subscriber, "state", lambda state: state["label"] in RIGHT["goldfish.jpg"])
    assert PASSWORD not in daemon.log + str(info)
