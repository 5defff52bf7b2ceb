"""Real frames through the confined service: from picamera2, and from the kernel's test camera.

The tests follow each other on one board. What stands in for hardware there is in `stand_ins`.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.board import materials
from tests.board.board import HERE, Board
from tests.board.camera import RibbonCamera, UsbCamera
from tests.board.service import BUDGET_MB, CONFIG_FILE, SOURCE, TOPICS, Service

PICTURES = HERE.parents[1] / "edge_agent" / "tools" / "demo" / "pictures"
RIBBON = """\
  type: picamera2
  fps: 2
  frozen_after_s: 0
  reopen_max_s: 5
"""
USB = """\
  type: v4l2
  fps: 2
  frozen_after_s: 0
  reopen_max_s: 5
  v4l2:
    device: /dev/video0
"""
# With OpenCV, which decodes what a USB camera sends.
USB_BUDGET_MB = 140
REOPENINGS = 1000


def pictures(*names: str) -> list[Image.Image]:
    return [Image.open(PICTURES / f"{name}.jpg") for name in names]


def night() -> Image.Image:
    """What a sensor sees in the dark: a few electrons here and there."""
    noise = np.random.default_rng(1).poisson(4, (480, 640, 3))
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def mean_colour(jpeg: bytes) -> tuple[float, ...]:
    with Image.open(io.BytesIO(jpeg)) as picture:
        return tuple(np.asarray(picture.convert("RGB")).reshape(-1, 3).mean(axis=0))


def health(service: Service, until: Callable[[dict[str, Any]], bool], timeout_s: float = 300) -> Any:
    """The first `health` that is as wished for; fails with the last one otherwise."""
    deadline = time.monotonic() + timeout_s
    seen = service.received("health")[0]
    while not until(seen) and time.monotonic() < deadline:
        seen = service.received("health", options="-R")[0]
    assert until(seen), f"{seen['camera']}\n{service.journal()}"
    return seen


def is_running(seen: dict[str, Any]) -> bool:
    return bool(seen["camera"]["state"] == "running")


def is_reopening(seen: dict[str, Any]) -> bool:
    return bool(seen["camera"]["state"] == "reopening")


def labels(service: Service, count: int = 8) -> set[str]:
    return {state["label"] for state in service.fresh_states(count)}


@pytest.fixture(scope="module")
def ribbon(board: Board, service: Service) -> Iterator[RibbonCamera]:
    """A camera on the ribbon cable, in use by the service."""
    if board.suite != "trixie":
        pytest.skip("Debian 12 has no Python for libcamera")
    camera = RibbonCamera(board)
    camera.attach(pictures("balloon", "goldfish"))
    # The drop-in with the camera's device holds from the next start on.
    service.write(CONFIG_FILE, materials.config(BUDGET_MB[board.cpu], RIBBON))
    board.run("systemctl restart --no-block edge-agent; sleep 2")
    service.wait_for("active")
    yield camera
    service.write(CONFIG_FILE, materials.config(BUDGET_MB[board.cpu]))


@pytest.mark.usefixtures("ribbon")
def test_picamera2_sees_what_is_before_the_camera(service: Service) -> None:
    seen = health(service, is_running)
    assert seen["camera"]["source"] == "picamera2"
    assert labels(service) <= {"balloon", "goldfish"}


@pytest.mark.usefixtures("ribbon")
def test_the_daemon_with_picamera2_stays_within_its_budget(board: Board, service: Service) -> None:
    seen = health(service, is_running)
    assert seen["memory"]["rss_mb"] <= BUDGET_MB[board.cpu]
    assert seen["memory"]["state"] in ("ok", "soft")


def test_a_hanging_camera_is_started_anew_by_the_same_process(ribbon: RibbonCamera, service: Service) -> None:
    before = health(service, is_running)["camera"]["reopened"]
    pid = service.unit().pid
    ribbon.hang()
    try:
        seen = health(service, is_reopening)
        assert "no picture within 5 s" in seen["camera"]["last_error"]
    finally:
        ribbon.go_on()
    assert health(service, is_running)["camera"]["reopened"] > before
    assert labels(service, 4) <= {"balloon", "goldfish"}
    assert service.unit().pid == pid


def test_a_camera_that_disappears_is_found_when_it_is_back(ribbon: RibbonCamera, service: Service) -> None:
    pid = service.unit().pid
    ribbon.unplug()
    try:
        health(service, lambda seen: "there is no camera 0" in seen["camera"]["last_error"])
    finally:
        ribbon.show(pictures("lorikeet"))
        ribbon.plug()
    health(service, is_running)
    assert labels(service, 4) == {"lorikeet"}
    assert service.unit().pid == pid


def test_used_up_camera_memory_is_told_and_survived(ribbon: RibbonCamera, service: Service) -> None:
    pid = service.unit().pid
    ribbon.use_up_memory()
    ribbon.hang()
    try:
        health(service, lambda seen: "memory for cameras (CMA) is used up" in seen["camera"]["last_error"])
    finally:
        ribbon.free_memory()
        ribbon.go_on()
    health(service, is_running)
    assert service.unit().pid == pid


def test_at_night_there_is_no_label(ribbon: RibbonCamera, board: Board, service: Service) -> None:
    ribbon.show([night()])
    # Another rate reopens the camera, which then looks at what it is shown.
    service.write(CONFIG_FILE, materials.config(BUDGET_MB[board.cpu], RIBBON.replace("fps: 2", "fps: 3")))
    service.fresh_states(5)
    health(service, is_running)
    assert labels(service, 3) == {"unknown"}


@pytest.mark.usefixtures("ribbon")
def test_a_thousand_reopenings_leak_nothing(board: Board, service: Service) -> None:
    service.write(CONFIG_FILE, materials.config(BUDGET_MB[board.cpu]))  # the camera is the script's now
    done = board.run(
        f"/opt/edge-agent/current/bin/python {SOURCE}/tests/board/reopen.py {REOPENINGS}", timeout_s=3600
    )
    assert done.stdout.splitlines()[-1] == "nothing leaked", done.stdout


@pytest.fixture(scope="module")
def usb(board: Board, service: Service) -> Iterator[UsbCamera]:
    """A USB camera in use by the service: the first one that the kernel sees while the service runs.

    OpenCV comes with a new run of install.sh.
    """
    camera = UsbCamera(board)
    camera.plug()
    service.write(CONFIG_FILE, materials.config(USB_BUDGET_MB, USB))
    service.install()
    service.write(CONFIG_FILE, materials.config(USB_BUDGET_MB))
    service.fresh_states()
    board.reboot()
    service.wait_for("active")
    assert "video4linux" not in service.read("/proc/devices")
    camera.plug()
    service.write(CONFIG_FILE, materials.config(USB_BUDGET_MB, USB))
    health(service, lambda seen: is_running(seen) and seen["camera"]["source"] == "v4l2")
    yield camera
    service.write(CONFIG_FILE, materials.config(BUDGET_MB[board.cpu]))


@pytest.mark.usefixtures("usb")
def test_a_usb_camera_is_classified_within_the_budget(service: Service) -> None:
    assert health(service, is_running)["memory"]["rss_mb"] <= USB_BUDGET_MB
    assert service.fresh_states(2)


def test_its_picture_arrives_in_the_right_colours(usb: UsbCamera, board: Board, service: Service) -> None:
    wanted = materials.config(USB_BUDGET_MB, USB)
    service.write(
        CONFIG_FILE, wanted.replace("publish:\n", "publish:\n  image: true\n  image_interval_s: 0.1\n")
    )
    try:
        for pattern, colour in ((7, (255, 0, 0)), (8, (0, 255, 0)), (9, (0, 0, 255))):
            usb.set(test_pattern=pattern)
            service.fresh_states(3)
            picture = board.run(
                f"mosquitto_sub -t {TOPICS}/image -R -C 1 -N -W 120 | base64", timeout_s=180
            ).stdout
            assert mean_colour(base64.b64decode(picture)) == pytest.approx(colour, abs=60)
    finally:
        service.write(CONFIG_FILE, wanted)


def test_a_usb_camera_that_gives_no_frames_is_reopened(usb: UsbCamera, service: Service) -> None:
    health(service, is_running)
    pid = service.unit().pid
    usb.set(percentage_of_dropped_buffers=100)
    try:
        health(service, is_reopening)
    finally:
        usb.set(percentage_of_dropped_buffers=0)
    health(service, is_running)
    assert service.unit().pid == pid


def test_a_usb_camera_that_is_pulled_out_is_found_when_it_is_back(usb: UsbCamera, service: Service) -> None:
    pid = service.unit().pid
    usb.unplug()
    seen = health(service, lambda seen: "does not exist" in seen["camera"]["last_error"])
    assert seen["camera"]["state"] == "reopening"
    usb.remove()
    usb.plug()
    health(service, is_running)
    assert service.fresh_states(2)
    assert service.unit().pid == pid
