"""RTSP: OpenCV's FFmpeg against a small server that misbehaves on request, and against GStreamer's."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_agent.config.address import rtsp_address
from edge_agent.config.schema import Config, RtspConfig, SourceConfig
from edge_agent.errors import ConfigError, SourceError
from edge_agent.pipeline.capture_loop import CaptureLoop, CapturePolicy, CaptureStatus
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.sources import Source, Streaming
from edge_agent.sources.login import LoginRefusedError
from edge_agent.sources.opencv import LiveCapture, StreamTooLargeError
from edge_agent.sources.rtsp import rtsp_source
from edge_agent.sources.rtsp_probe import require_stream
from edge_agent.system.secret import SecretUrl
from tests.mqtt.wire.certificates import Authority
from tests.sources.h264 import H264Stream
from tests.sources.helpers import BLUE, Deaf, open_files
from tests.sources.rtsp_server import RtspServer

pytest.importorskip("cv2", reason="OpenCV is not installed")

PASSWORD = "s3cret-pw"
ORANGE = (250, 120, 10)
TIMEOUT_S = 20.0
"""Long enough for a busy machine; tests of the timeout itself take a shorter one."""

InThread = Callable[[Callable[[], None]], threading.Thread]


def source_of(
    url: str, transport: Literal["tcp", "udp"] = "tcp", timeout_s: float = TIMEOUT_S
) -> LiveCapture:
    return rtsp_source(RtspConfig(url=SecretUrl(url), transport=transport), timeout_s)


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with RtspServer(Image.new("RGB", (320, 240), ORANGE)) as running:
        yield running


@pytest.fixture
def guarded() -> Iterator[RtspServer]:
    with RtspServer(Image.new("RGB", (320, 240), ORANGE), password=PASSWORD) as running:
        yield running


@pytest.fixture(scope="module")
def gstreamer_port() -> Iterator[int]:
    """The port of a real, independent server."""
    script = Path(__file__).with_name("gstreamer_server.py")
    process = subprocess.Popen(
        ["/usr/bin/python3", str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait(10)
        pytest.skip("GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0, plugins-good)")
    yield int(line)
    process.kill()
    process.communicate()


def mean_colour(source: Source) -> tuple[int, ...]:
    frame = source.read()
    assert frame is not None
    assert frame.pixels.shape == (240, 320, 3)
    return tuple(int(channel) for channel in frame.pixels.reshape(-1, 3).mean(axis=0).round())


def skip_on(source: LiveCapture) -> None:
    """Let everything pass that was already on its way."""
    for _ in range(1000):
        source.skip()


def test_frames_of_a_stream_are_rgb_and_numbered(server: RtspServer) -> None:
    source = source_of(server.url())
    source.open()
    np.testing.assert_allclose(mean_colour(source), ORANGE, atol=6)
    second = source.read()
    source.close()
    assert second.id == 2
    assert second.pixels.flags.c_contiguous
    assert source.live
    assert isinstance(source, Streaming)


def test_the_user_and_password_of_the_url_are_used(guarded: RtspServer) -> None:
    source = source_of(guarded.url(credentials=f"admin:{PASSWORD}"))
    source.open()
    np.testing.assert_allclose(mean_colour(source), ORANGE, atol=6)
    source.close()


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        ("", r"asks for a user and a password \(401\)"),
        ("admin:wrong", r"refuses the user or the password \(401\); check both in source\.rtsp\.url"),
    ],
)
def test_a_refused_password_is_not_confused_with_a_server_that_is_away(
    guarded: RtspServer, credentials: str, message: str
) -> None:
    with pytest.raises(LoginRefusedError, match=message):
        source_of(guarded.url(credentials=credentials)).open()
    assert guarded.refused <= 2, "a camera counts refusals"
    guarded.stop()
    with pytest.raises(SourceError, match=r"cannot reach the RTSP server at 127\.0\.0\.1:.*refused"):
        source_of(guarded.url(credentials=credentials)).open()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """That of a camera, whose certificate nobody knows."""
    files = Authority(tmp_path_factory.mktemp("ca"), "ca").issue("camera")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context


def test_a_server_that_encrypts_is_asked_why_it_refuses_too(context: ssl.SSLContext) -> None:
    with RtspServer(Image.new("RGB", (320, 240), ORANGE), password=PASSWORD, context=context) as server:
        for credentials in ("", "admin:wrong"):
            with pytest.raises(LoginRefusedError, match="401"):
                source_of(server.url(credentials=credentials)).open()
        with pytest.raises(SourceError, match=r"has nothing at this path \(404\)"):
            source_of(server.url("nothing", f"admin:{PASSWORD}")).open()
        source = source_of(server.url(credentials=f"admin:{PASSWORD}"))
        source.open()
        np.testing.assert_allclose(mean_colour(source), ORANGE, atol=6)
        source.close()


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps"])
def test_a_server_that_accepts_and_says_nothing_is_not_asked_for_longer(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = rtsp_address(f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/cam")
        with pytest.raises(SourceError, match=r"accepts the connection, and gives no answer within 0\.3 s"):
            require_stream(address, 0.3)


def test_a_wrong_path_is_told_from_a_wrong_password(server: RtspServer) -> None:
    with pytest.raises(SourceError, match=r"has nothing at this path \(404\)") as failed:
        source_of(server.url("nothing")).open()
    assert not isinstance(failed.value, LoginRefusedError)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.0 400 Bad\r\n\r\n", b"RTSP/1.0 500 x\r\n\r\n", b"\xff" * 99999, b"RTSP/1.0 200 OK\r\n"],
)
@pytest.mark.parametrize("scheme", ["rtsp", "rtsps"])
def test_a_server_that_answers_otherwise_is_left_to_ffmpeg(
    answer: bytes, scheme: str, in_thread: InThread
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as strange:

        def serve() -> None:
            client, _ = strange.accept()
            with client:
                client.recv(4096)
                client.sendall(answer)

        in_thread(serve)
        port = strange.getsockname()[1]
        require_stream(rtsp_address(f"{scheme}://127.0.0.1:{port}/cam"), TIMEOUT_S)


def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        started_s = time.monotonic()
        with pytest.raises(SourceError, match="does not give the stream"):
            source_of(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/cam", timeout_s=1).open()
        assert time.monotonic() - started_s < TIMEOUT_S


def test_a_stream_that_stalls_is_an_error_after_the_timeout(server: RtspServer) -> None:
    source = source_of(server.url(), timeout_s=3)
    source.open()
    source.read()
    server.stall()
    with pytest.raises(
        SourceError, match=r"gave no picture within 3 s, or ended; check the camera at 127\.0\.0\.1"
    ):
        skip_on(source)
    source.close()


def test_a_stream_that_is_cut_off_is_an_error(server: RtspServer) -> None:
    source = source_of(server.url())
    source.open()
    source.read()
    server.stop()
    with pytest.raises(SourceError, match="or ended"):
        skip_on(source)
    source.close()


def wait_for(loop: CaptureLoop, condition: Callable[[CaptureStatus], bool]) -> CaptureStatus:
    for _ in range(600):
        if condition(status := loop.status):
            return status
        time.sleep(0.05)
    raise AssertionError(f"did not happen: {loop.status}")


def test_a_camera_that_loses_power_is_reopened_when_it_is_back(in_thread: InThread) -> None:
    picture = Image.new("RGB", (320, 240), ORANGE)
    slot = LatestFrame()
    with RtspServer(picture) as first:
        loop = CaptureLoop(source_of(first.url()), slot, CapturePolicy(0, 0.1, 0.2), Deaf())
        in_thread(loop.run)
        wait_for(loop, lambda status: status.frames > 3)
    failed = wait_for(loop, lambda status: status.consecutive_failures > 1)
    with RtspServer(picture, port=first.port):
        back = wait_for(loop, lambda status: status.state == "running" and status.frames > failed.frames)
        loop.stop()
    assert failed.state == "reopening"
    assert failed.last_error.startswith("cannot reach the RTSP server at 127.0.0.1")
    assert back.reopened == 1
    assert slot.take(0) is not None


def test_a_slow_taker_gets_fresh_frames_and_the_rest_is_let_pass(
    server: RtspServer, in_thread: InThread
) -> None:
    slot = LatestFrame()
    loop = CaptureLoop(source_of(server.url()), slot, CapturePolicy(4, 1, 1), Deaf())
    in_thread(loop.run)
    for _ in range(3):
        assert slot.take(10) is not None
    taken = loop.status.frames
    loop.stop()
    assert server.sent > 2 * taken


@pytest.mark.parametrize("credentials", [f"admin:{PASSWORD}", f"{PASSWORD}:x"])
@pytest.mark.parametrize("path", ["cam", f"user=admin&password={PASSWORD}", f"cam?pw={PASSWORD}"])
def test_nothing_of_the_url_but_host_and_port_is_ever_shown(
    guarded: RtspServer, credentials: str, path: str
) -> None:
    guarded.stop()
    source = source_of(guarded.url(path, credentials))
    with pytest.raises(SourceError) as failed:
        source.open()
    shown = f"{source.description} {failed.value!s} {failed.value.__cause__!r}"
    assert PASSWORD not in shown
    assert str(guarded.port) in shown


def test_opencv_itself_prints_nothing_not_even_the_password(guarded: RtspServer) -> None:
    script = (
        "import sys\n"
        "from edge_agent.config.schema import RtspConfig\n"
        "from edge_agent.system.secret import SecretUrl\n"
        "from edge_agent.errors import SourceError\n"
        "from edge_agent.sources.rtsp import rtsp_source\n"
        "try:\n"
        "    rtsp_source(RtspConfig(url=SecretUrl(sys.argv[1])), 2).open()\n"
        "except SourceError as error:\n"
        "    print(error)\n"
    )
    url = guarded.url(credentials=f"admin:not-{PASSWORD}")
    ended = subprocess.run(
        [sys.executable, "-c", script, url], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.startswith("the RTSP server at 127.0.0.1")
    assert PASSWORD not in ended.stdout
    assert ended.stderr == ""


@pytest.mark.parametrize(
    "url",
    ["", "camera", "http://host/cam", "rtsp://", f"rtsp://a:{PASSWORD}@host:port/cam", "rtsp://[::1/cam"],
)
def test_what_is_no_rtsp_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.rtsp\.url is no RTSP address") as refused:
        source_of(url)
    assert PASSWORD not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("rtsp://camera.lan/cam", "camera.lan:554"),
        ("rtsps://camera.lan/cam", "camera.lan:322"),
        ("rtsp://u:p@[fe80::1]:8554/", "[fe80::1]:8554"),
    ],
)
def test_the_description_is_host_and_port(url: str, address: str) -> None:
    assert source_of(url).description == f"rtsp {address}"


def test_many_reopenings_leave_no_file_open(server: RtspServer) -> None:
    source = source_of(server.url())
    source.open()
    source.close()
    before = open_files()
    for _ in range(6):
        source.open()
        source.close()
    # The server is in this process too, and may still be closing its end of the last one.
    assert open_files() - before <= 2


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_gstreamers_server_is_read_over_tcp_and_udp(
    gstreamer_port: int, transport: Literal["tcp", "udp"]
) -> None:
    source = source_of(f"rtsp://127.0.0.1:{gstreamer_port}/cam", transport)
    source.open()
    for _ in range(3):
        np.testing.assert_allclose(mean_colour(source), BLUE, atol=20)
    source.close()


def test_an_owners_own_ffmpeg_options_prevail(server: RtspServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|stimeout;1")
    source = source_of(server.url(), "udp")
    source.open()
    np.testing.assert_allclose(mean_colour(source), ORANGE, atol=6)
    source.close()
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "rtsp_transport;tcp|stimeout;1"


def test_the_options_for_ffmpeg_are_taken_back(server: RtspServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", raising=False)
    source = source_of(server.url())
    source.open()
    source.close()
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ


def test_a_stream_that_the_memory_budget_has_no_room_for_is_refused_by_its_size() -> None:
    with RtspServer(Image.new("RGB", (1920, 1088), ORANGE)) as server:
        config = RtspConfig(url=SecretUrl(server.url()))
        source = rtsp_source(config, TIMEOUT_S, lambda: 20 << 20)
        with pytest.raises(StreamTooLargeError, match="1920 x 1088 pixels takes about 36 MB") as failed:
            source.open()
        assert "take the camera's second, smaller stream, or raise memory.budget_mb" in str(failed.value)
        roomy = rtsp_source(config, TIMEOUT_S, lambda: 40 << 20)
        roomy.open()
        assert roomy.read().pixels.shape == (544, 960, 3)
        roomy.close()


# H.264


def halves(brightness: int) -> NDArray[np.uint8]:
    """A picture that is dark on the left, and of that brightness on the right."""
    luma = np.full((96, 128), 40, np.uint8)
    luma[:, 64:] = brightness
    return luma


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_frame_of_h264_is_handed_over_as_it_is_or_not_at_all(interlaced: bool, in_thread: InThread) -> None:
    """OpenCV 5.0 fills the pictures of interlaced video with what there was in memory."""
    stream = H264Stream(128, 96, interlaced, tuple(halves(150 + number) for number in range(80)))
    slot = LatestFrame()
    with RtspServer(stream) as server:
        policy = CapturePolicy.from_config(Config(source=SourceConfig(type="rtsp", fps=0)))
        loop = CaptureLoop(source_of(server.url()), slot, policy, Deaf())
        in_thread(loop.run)
        frame = None
        while frame is None and loop.status.unusable < 10:
            frame = slot.take(0.1)
        loop.stop()
    if frame is None:
        assert interlaced
        return
    left, right = (frame.pixels[:, columns].mean() for columns in (slice(8, 56), slice(72, 120)))
    assert 20 < left < 45
    assert 140 < right < 255
