"""Cameras over HTTP: streams and snapshots, logins, redirects, and servers that mean no good."""

from __future__ import annotations

import hashlib
import io
import ssl
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.config.schema import HttpConfig, SourceConfig
from edge_agent.errors import ConfigError, SourceError
from edge_agent.pipeline.capture_loop import CaptureLoop, CapturePolicy
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.sources import Streaming
from edge_agent.sources.factory import make_source
from edge_agent.sources.http.multipart import Parts, StreamError, boundary_of
from edge_agent.sources.http.source import HttpSource
from edge_agent.sources.login import Credentials, Login, LoginRefusedError
from edge_agent.system.secret import SecretUrl
from tests.mqtt.wire.certificates import Authority, Files
from tests.sources.helpers import Deaf, open_files
from tests.sources.http_camera import PASSWORD, Answer, Request, digest, http_camera, jpeg, part, stream

ORANGE, BLUE = (250, 120, 10), (10, 20, 240)
TIMEOUT_S = 20.0
"""Long enough for a busy machine; tests of the timeout itself take a shorter one."""

InThread = Callable[[Callable[[], None]], threading.Thread]


def source_of(url: str, timeout_s: float = TIMEOUT_S, ca_file: Path | None = None) -> HttpSource:
    http = HttpConfig(url=SecretUrl(url), ca_file=ca_file)
    source = make_source(SourceConfig(type="http", timeout_s=timeout_s, http=http), lambda: 16 << 20)
    assert isinstance(source, HttpSource)
    return source


def colour(pixels: NDArray[np.uint8]) -> tuple[int, ...]:
    return tuple(int(channel) for channel in pixels.reshape(-1, 3).mean(axis=0).round())


def read_all(answer: Answer, count: int = 1) -> list[tuple[int, ...]]:
    """The colours of the first frames of a camera."""
    with http_camera(answer) as camera:
        source = source_of(camera.url())
        source.open()
        colours = [colour(source.read().pixels) for _ in range(count)]
        source.close()
    return colours


def first_frame(source: HttpSource) -> None:
    source.open()
    source.read()


def failure(answer: Answer, timeout_s: float = TIMEOUT_S) -> str:
    """What the source says of a camera that gives no picture."""
    with http_camera(answer) as camera:
        source = source_of(camera.url(), timeout_s)
        with pytest.raises(SourceError) as failed:
            first_frame(source)
        source.close()
    return str(failed.value)


def test_a_snapshot_address_is_asked_for_each_frame_over_one_connection() -> None:
    with http_camera(lambda request: request.answer(jpeg())) as camera:
        source = source_of(camera.url("/capture?size=vga"))
        source.open()
        frames = [source.read() for _ in range(3)]
        source.close()
    assert [frame.id for frame in frames] == [1, 2, 3]
    np.testing.assert_allclose(colour(frames[0].pixels), ORANGE, atol=3)
    assert [request.target for request in camera.requests] == ["/capture?size=vga"] * 3
    assert len({id(request.connection) for request in camera.requests}) == 1
    assert source.live


def test_a_server_that_hangs_up_after_each_snapshot_is_asked_again() -> None:
    def once(request: Request) -> None:
        request.answer(jpeg())
        request.connection.shutdown(2)

    assert len(read_all(once, 3)) == 3


def test_a_stream_as_mjpg_streamer_sends_it() -> None:
    def answer(request: Request) -> None:
        parts = [
            part(data, "Content-Type: image/jpeg", f"Content-Length: {len(data)}", "X-Timestamp: 1.2")
            for data in (jpeg(ORANGE), jpeg(BLUE))
        ]
        stream(request, *parts, boundary="boundarydonotcross", declared="boundarydonotcross")

    first, second = read_all(answer, 2)
    np.testing.assert_allclose(first, ORANGE, atol=3)
    np.testing.assert_allclose(second, BLUE, atol=3)


def test_a_stream_as_an_esp32_sends_it_in_chunks() -> None:
    def chunk(data: bytes) -> bytes:
        return f"{len(data):x}\r\n".encode() + data + b"\r\n"

    def answer(request: Request) -> None:
        request.send(
            b"HTTP/1.1 200 OK\r\n"
            b"Content-Type: multipart/x-mixed-replace;boundary=123456789000000000000987654321\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for data in (jpeg(ORANGE), jpeg(BLUE)):
            request.send(chunk(b"\r\n--123456789000000000000987654321\r\n"))
            request.send(chunk(f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()))
            for start in range(0, len(data), 100):
                request.send(chunk(data[start : start + 100]))

    first, second = read_all(answer, 2)
    np.testing.assert_allclose(first, ORANGE, atol=3)
    np.testing.assert_allclose(second, BLUE, atol=3)


@pytest.mark.parametrize("declared", ["--cut", '"cut"', '"--cut"', "cut; charset=x"])
def test_parts_without_a_length_end_at_the_boundary_however_it_is_written(declared: str) -> None:
    def answer(request: Request) -> None:
        stream(request, *[part(jpeg(one)) for one in (ORANGE, BLUE, ORANGE)], declared=declared)

    first, second = read_all(answer, 2)
    np.testing.assert_allclose(first, ORANGE, atol=3)
    np.testing.assert_allclose(second, BLUE, atol=3)


def test_a_picture_that_is_damaged_is_passed_over_and_counted() -> None:
    def answer(request: Request) -> None:
        good = jpeg(BLUE)
        stream(request, *[part(data, f"Content-Length: {len(data)}") for data in (b"\xff\xd8junk", good)])

    with http_camera(answer) as camera:
        source = source_of(camera.url())
        source.open()
        np.testing.assert_allclose(colour(source.read().pixels), BLUE, atol=3)
        source.close()
    assert source.damaged == 1


def test_pictures_of_a_stream_pass_undecoded_and_snapshots_do_not_pile_up() -> None:
    def answer(request: Request) -> None:
        data = jpeg(BLUE)
        stream(request, *[part(one, f"Content-Length: {len(one)}") for one in (b"no picture", data)])

    with http_camera(answer) as camera, http_camera(lambda request: request.answer(jpeg())) as snapshots:
        source, single = source_of(camera.url()), source_of(snapshots.url())
        source.open()
        single.open()
        assert isinstance(source, Streaming)
        assert source.skip()
        assert not single.skip()
        np.testing.assert_allclose(colour(source.read().pixels), BLUE, atol=3)
        source.close()
        single.close()
    assert len(snapshots.requests) == 1


def test_a_camera_that_was_away_is_reopened(in_thread: InThread) -> None:
    answers = iter(["503 Busy", "503 Busy"])

    def answer(request: Request) -> None:
        request.answer(jpeg(), "image/jpeg", next(answers, "200 OK"))

    slot = LatestFrame()
    with http_camera(answer) as camera:
        loop = CaptureLoop(source_of(camera.url()), slot, CapturePolicy(20, 0.1, 0.2), Deaf())
        in_thread(loop.run)
        assert slot.take(TIMEOUT_S) is not None
        status = loop.status
        loop.stop()
    assert (status.reopened, status.state) == (1, "running")
    assert "answers 503 (Busy) instead of a picture" in status.last_error


# Logins.


def basic(request: Request) -> None:
    if request.headers.get("authorization") == "Basic bWU6czNjcmV0LXB3":  # me:s3cret-pw
        request.answer(jpeg())
    else:
        request.answer(b"no", "text/plain", "401 No", 'WWW-Authenticate: Basic realm="cam"')


@pytest.mark.parametrize("answer", [basic, digest("MD5"), digest("SHA-256"), digest(""), digest("", "")])
def test_the_user_and_password_of_the_url_are_sent_as_the_camera_asks(answer: Answer) -> None:
    with http_camera(answer) as camera:
        source = source_of(camera.url("/a?b=c", f"me:{PASSWORD}"))
        source.open()
        for _ in range(5):
            source.read()
        source.close()
    assert "authorization" not in camera.requests[0].headers
    schemes = {request.headers.get("authorization", "").partition(" ")[0] for request in camera.requests}
    assert schemes - {""} == {"Basic" if answer is basic else "Digest"}


def test_a_digest_is_as_the_example_of_rfc_7616() -> None:
    login = Login(Credentials("Mufasa", "Circle of Life"), lambda _: b"")
    assert login.challenged(
        ['Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="x", opaque="y"']
    )
    expected = hashlib.md5(b"Mufasa:http-auth@example.org:Circle of Life").hexdigest()
    expected = hashlib.md5(
        f"{expected}:x:00000001::auth:{hashlib.md5(b'GET:/dir/index.html').hexdigest()}".encode()
    ).hexdigest()
    assert f'response="{expected}"' in (login.answer("GET", "/dir/index.html") or "")


def test_a_login_may_hold_any_letters() -> None:
    def answer(request: Request) -> None:
        if request.headers.get("authorization") == f"Basic {b64encode('jürgen:日本:'.encode()).decode()}":
            request.answer(jpeg())
        else:
            request.answer(b"no", "text/plain", "401 No", "WWW-Authenticate: Basic")

    with http_camera(answer) as camera:
        source = source_of(camera.url("/sch\xf6n", "j%C3%BCrgen:%E6%97%A5%E6%9C%AC%3A"))
        first_frame(source)
        source.close()
    assert camera.requests[0].target == "/sch%C3%B6n"


def test_a_wrong_password_is_sent_once_and_told_from_a_wrong_path() -> None:
    with http_camera(basic) as camera:
        source = source_of(camera.url(credentials="me:wrong"))
        with pytest.raises(LoginRefusedError, match=r"refuses the user or the password \(401\)"):
            source.open()
        assert len(camera.requests) == 2
        with pytest.raises(LoginRefusedError, match="asks for a user and a password"):
            source_of(camera.url()).open()
    assert "nothing at this path (404)" in failure(lambda request: request.answer(b"", status="404 Gone"))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Digest",
        "Digest nonce=",
        'Digest nonce="x", algorithm=SHA-512',
        "Negotiate",
        'Digest "' + "x" * 9999,
    ],
)
def test_a_login_that_nobody_could_answer_is_refused(header: str) -> None:
    def answer(request: Request) -> None:
        request.answer(b"", "text/plain", "401 No", f"WWW-Authenticate: {header}")

    with http_camera(answer) as camera, pytest.raises(LoginRefusedError):
        source_of(camera.url(credentials="me:x")).open()


# Redirects.


def redirect(target: Callable[[Request], str]) -> Answer:
    return lambda request: request.answer(b"moved", "text/plain", "302 Found", f"Location: {target(request)}")


def test_redirects_are_followed_and_the_login_goes_to_no_other_server() -> None:
    with http_camera(basic) as other:

        def answer(request: Request) -> None:
            if "authorization" not in request.headers:
                basic(request)
            elif request.target == "/":
                redirect(lambda _: "/deeper?x=1#part")(request)
            else:
                redirect(lambda _: other.url("/cam"))(request)

        with http_camera(answer) as camera:
            source = source_of(camera.url("/", f"me:{PASSWORD}"))
            with pytest.raises(LoginRefusedError):
                source.open()
    assert [request.target for request in camera.requests] == ["/", "/", "/deeper?x=1"]
    assert [request.target for request in other.requests] == ["/cam"]
    assert "authorization" not in other.requests[0].headers


def test_a_redirect_that_leads_to_a_picture_is_fine() -> None:
    def answer(request: Request) -> None:
        if request.target == "/":
            redirect(lambda _: "cam.jpg")(request)
        else:
            request.answer(jpeg())

    assert len(read_all(answer, 2)) == 2


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/again", "sends from one address to the next, more than 3 times"),
        ("ftp://127.0.0.1/", "sends elsewhere, but to no HTTP address"),
        ("file:///etc/passwd", "sends elsewhere, but to no HTTP address"),
        ("http://[::1", "sends elsewhere, but to no HTTP address"),
        ("", "sends from one address to the next"),
    ],
)
def test_redirects_have_an_end(location: str, message: str) -> None:
    assert message in failure(redirect(lambda _: location))


# Encryption.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "ca")


def context_of(files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context


def test_a_certificate_is_checked_against_the_authority(authority: Authority) -> None:
    context = context_of(authority.issue("camera"))
    with http_camera(lambda request: request.answer(jpeg()), context) as camera:
        source = source_of(camera.url(), ca_file=authority.file)
        source.open()
        np.testing.assert_allclose(colour(source.read().pixels), ORANGE, atol=3)
        source.close()
        with pytest.raises(SourceError, match="certificate"):
            source_of(camera.url()).open()


def test_nobody_is_sent_from_https_to_http(authority: Authority) -> None:
    context = context_of(authority.issue("camera"))
    with http_camera(redirect(lambda _: "http://127.0.0.1/"), context) as camera:
        source = source_of(camera.url(), ca_file=authority.file)
        with pytest.raises(SourceError, match="sends from https to http"):
            source.open()


def test_https_works_in_a_process_that_has_shut_tls_out_for_the_broker(authority: Authority) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edge_agent.system.lean_imports import import_paho\n"
        "import_paho({}, tls=False)\n"
        "from edge_agent.config.schema import HttpConfig\n"
        "from edge_agent.sources.http.source import HttpSource\n"
        "from edge_agent.system.secret import SecretUrl\n"
        "from edge_agent.sources.factory import make_source\n"
        "from edge_agent.config.schema import SourceConfig\n"
        "before = sys.modules.get('ssl')\n"
        "config = HttpConfig(url=SecretUrl(sys.argv[1]), ca_file=Path(sys.argv[2]))\n"
        "source = make_source(SourceConfig(type='http', timeout_s=20, http=config))\n"
        "source.open()\n"
        "print(before, source.read().pixels.shape)\n"
    )
    context = context_of(authority.issue("camera"))
    with http_camera(lambda request: request.answer(jpeg()), context) as camera:
        arguments = [camera.url(), str(authority.file)]
        ended = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=True
        )
    assert ended.stdout.strip() == "None (48, 64, 3)"


def test_plain_http_loads_neither_opencv_nor_tls() -> None:
    script = (
        "import sys\n"
        "from edge_agent.config.schema import HttpConfig, SourceConfig\n"
        "from edge_agent.system.lean_imports import import_paho\n"
        "import_paho({}, tls=False)\n"
        "from edge_agent.sources.factory import make_source\n"
        "from edge_agent.system.secret import SecretUrl\n"
        "source = make_source(SourceConfig(type='http', http=HttpConfig(url=SecretUrl(sys.argv[1]))))\n"
        "source.open()\n"
        "source.read()\n"
        "print([name for name in ('cv2', '_ssl', 'urllib.request') if sys.modules.get(name)])\n"
    )
    with http_camera(lambda request: request.answer(jpeg())) as camera:
        ended = subprocess.run(
            [sys.executable, "-c", script, camera.url()],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert ended.stdout.strip() == "[]"


# Servers that mean no good.


def drip(head: bytes, piece: bytes) -> Answer:
    """Send `head` at once and `piece` for ever, one every tenth of a second."""

    def answer(request: Request) -> None:
        request.send(head)
        while True:
            request.send(piece)
            time.sleep(0.1)

    return answer


MULTIPART = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=cut\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        drip(b"", b"H"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X-Header: 1\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"),
        drip(MULTIPART, b"\r\n"),
        drip(MULTIPART + b"--cut\r\nContent-Length: 1000\r\n\r\n", b"x"),
        drip(MULTIPART + b"--cut\r\n\r\n", b"x\n"),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 999\r\n\r\n", b"x"),
    ],
)
def test_a_server_that_sends_a_little_now_and_then_is_given_up_in_time(answer: Answer) -> None:
    started_s = time.monotonic()
    assert "gave no whole picture within 0.5 s" in failure(answer, timeout_s=0.5)
    assert time.monotonic() - started_s < 10


def flood(head: bytes, piece: bytes) -> Answer:
    """Send `head`, and `piece` without end, as fast as it is taken."""

    def answer(request: Request) -> None:
        request.send(head)
        while True:
            request.send(piece)

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (flood(b"HTTP/1.1 200 OK\r\n", b"X-Header: 1\r\n" * 1000), "does not speak HTTP"),
        (flood(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 4096), "does not speak HTTP"),
        (flood(b"", b"x" * 4096), "does not speak HTTP"),
        (flood(MULTIPART, b"x" * 4096), "does not separate its pictures as it says"),
        (flood(MULTIPART, b"--other\r\n\r\npicture\r\n" * 100), "does not separate its pictures as it says"),
        (flood(MULTIPART + b"--cut\r\n", b"X: 1\r\n" * 100), "a picture with too many headers"),
        (flood(MULTIPART + b"--cut\r\n\r\n", b"x" * 4096), "has a picture of more than 8.0 MB"),
        (flood(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 4096), "sends a picture of more than 8.0 MB"),
        (
            flood(MULTIPART + b"--cut\r\nContent-Length: 999999999999\r\n\r\n", b"x" * 4096),
            "has a picture of more than 8.0 MB",
        ),
    ],
)
def test_what_has_no_end_is_not_kept(answer: Answer, message: str) -> None:
    assert message in failure(answer)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "does not speak HTTP"),
        (b"SSH-2.0-dropbear\r\n", "does not speak HTTP"),
        (MULTIPART, "ended"),
        (MULTIPART + b"--cut\r\nContent-Length: 1000\r\n\r\nxx", "ended in the middle of a picture"),
        (MULTIPART + b"--cut\r\n\r\nxx", "ended"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed\r\n\r\n", "what separates its pictures"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", "cannot read the picture"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 500 \x1b[31m\r\nContent-Length: 0\r\n\r\n", r"answers 500 (\x1b[31m)"),
    ],
)
def test_a_server_that_hangs_up_or_talks_nonsense_is_an_error(sent: bytes, message: str) -> None:
    def answer(request: Request) -> None:
        request.send(sent)
        request.connection.shutdown(2)

    assert message in failure(answer)


def test_pictures_that_are_all_damaged_are_an_error() -> None:
    assert "cannot read the picture from 127.0.0.1:" in failure(
        lambda request: request.answer(b"<html>Please log in</html>", "text/html")
    )


def test_a_camera_that_is_not_there_is_said_with_its_address() -> None:
    with http_camera(lambda _: None) as camera:
        url = camera.url("/cam?pw=" + PASSWORD, f"me:{PASSWORD}")
    source = source_of(url)
    with pytest.raises(
        SourceError, match=rf"cannot reach the camera at 127\.0\.0\.1:{camera.port}"
    ) as failed:
        source.open()
    assert PASSWORD not in f"{source.description} {failed.value} {failed.value.__cause__!r}"


@pytest.mark.parametrize("url", ["", "camera", "rtsp://host/cam", "http://", f"http://a:p#{PASSWORD}@host/"])
def test_what_is_no_http_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.http\.url") as refused:
        source_of(url)
    assert PASSWORD not in str(refused.value)


def test_many_reopenings_leave_no_file_open() -> None:
    with http_camera(lambda request: request.answer(jpeg())) as camera:
        source = source_of(camera.url())
        source.open()
        source.close()
        time.sleep(0.2)
        before = open_files()
        for _ in range(8):
            source.open()
            source.close()
        time.sleep(0.2)
        # The camera is in this process too, and may still be closing its end of the last one.
        assert open_files() - before <= 2


@settings(max_examples=200)
@given(st.binary(max_size=400), st.sampled_from([b"", b"--cut\r\n", b"--cut\r\nContent-Length: 5\r\n\r\n"]))
def test_whatever_a_stream_holds_it_gives_pictures_or_a_stream_error(data: bytes, head: bytes) -> None:
    parts = Parts(io.BytesIO(head + data), b"cut")
    pictures = iter(lambda: parts.next(100), None)
    with pytest.raises(StreamError):
        assert all(len(picture) <= 100 for picture in pictures)


@given(st.text())
def test_whatever_the_content_type_it_has_a_boundary_or_none_or_is_refused(content_type: str) -> None:
    try:
        assert boundary_of(content_type) is None
        assert boundary_of(f'multipart/x; boundary="{content_type}"')
    except StreamError:
        pass
