"""Pretrained weights: fetched from a real HTTP server on loopback, and checked by their hash."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_agent.errors import ModelError
from edge_agent.tools.builder.pretrained import Pretrained, WeightsUnavailable, given, obtain

CONTENT = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = f"tiny-{DIGEST[:8]}.pth"


@dataclass
class Site:
    """What the server answers with, and the paths that it was asked for."""

    url: str = ""
    body: bytes = CONTENT
    status: int = 200
    announced_bytes: int = len(CONTENT)
    stalls: bool = False
    """Whether the connection stays open, silent, once the body is sent."""
    done: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    @property
    def weights(self) -> Pretrained:
        return Pretrained("IMAGENET1K_V1", url=f"{self.url}/models/{NAME}")


@pytest.fixture
def site() -> Iterator[Site]:
    answers = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.asked.append(self.path)
            self.send_response(answers.status)
            self.send_header("Content-Length", str(answers.announced_bytes))
            self.end_headers()
            self.wfile.write(answers.body)
            if answers.stalls:
                answers.done.wait(30)

        def log_message(self, *_args: object) -> None:
            """Keep the tests' output to themselves."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        answers.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield answers
        answers.done.set()
        server.shutdown()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fetch(site: Site, cache: Path, timeout_s: float = 10.0) -> Path:
    return obtain(site.weights, cache, lambda _line: None, timeout_s=timeout_s).path


def test_weights_are_downloaded_once_and_then_taken_from_the_cache(site: Site, tmp_path: Path) -> None:
    lines: list[str] = []
    cache = tmp_path / "not" / "there" / "yet"
    first = obtain(site.weights, cache, lines.append)
    again = obtain(site.weights, cache, lines.append)
    assert first == again
    assert first.path.read_bytes() == CONTENT
    assert (first.origin.source, first.origin.sha256) == ("IMAGENET1K_V1", DIGEST)
    assert site.asked == [f"/models/{NAME}"]
    assert lines == [f"downloading {site.url}/models/{NAME} to {cache}"]
    assert [path.name for path in cache.iterdir()] == [NAME]


def test_a_damaged_copy_in_the_cache_is_fetched_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    assert fetch(site, tmp_path).read_bytes() == CONTENT


def test_a_terminal_shows_the_progress_up_to_the_end(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    fetch(site, tmp_path)
    assert "100% of 0.5 MB" in terminal.getvalue().split("\r")[-1]


def test_a_log_is_not_filled_with_a_progress_bar(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    fetch(site, tmp_path)
    assert log.getvalue() == ""


def test_a_download_with_the_wrong_hash_is_refused_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    site.body = b"x" * len(CONTENT)
    with pytest.raises(WeightsUnavailable, match=rf"{NAME}: the download is damaged.*--weights FILE"):
        fetch(site, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_is_refused_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    site.body = CONTENT[:1000]
    with pytest.raises(WeightsUnavailable, match="--weights FILE"):
        fetch(site, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_falls_silent_is_given_up_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    site.body, site.stalls = CONTENT[:1000], True
    with pytest.raises(
        WeightsUnavailable, match=rf"{NAME}: cannot be downloaded: .*timed out.*--weights FILE"
    ):
        fetch(site, tmp_path, timeout_s=0.2)
    assert list(tmp_path.iterdir()) == []


def test_a_longer_file_is_refused_by_its_hash(site: Site, tmp_path: Path) -> None:
    site.body, site.announced_bytes = CONTENT + b"more", len(CONTENT) + 4
    with pytest.raises(WeightsUnavailable, match=rf"expected {DIGEST[:8]}"):
        fetch(site, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_of_the_server_says_what_else_to_do(site: Site, tmp_path: Path) -> None:
    site.status = 404
    with pytest.raises(
        WeightsUnavailable,
        match=r"cannot be downloaded: Not Found; use --weights FILE.*--arch efficientnet_lite0",
    ):
        fetch(site, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_says_what_else_to_do(site: Site, tmp_path: Path) -> None:
    site.url = "http://127.0.0.1:1"
    with pytest.raises(WeightsUnavailable, match=r"cannot be downloaded: .*refused.*--weights FILE"):
        fetch(site, tmp_path)


def test_a_url_without_a_hash_is_not_trusted(site: Site, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="carries no hash"):
        obtain(Pretrained("V1", url=f"{site.url}/tiny.pth"), tmp_path, lambda _line: None)
    assert site.asked == []


def test_the_weights_of_a_package_are_used_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "packaged.pth").write_bytes(CONTENT)
    weights = obtain(Pretrained("package 1.0", path=tmp_path / "packaged.pth"), tmp_path / "cache", print)
    assert weights.path == tmp_path / "packaged.pth"
    assert (weights.origin.source, weights.origin.sha256) == ("package 1.0", DIGEST)
    assert not (tmp_path / "cache").exists()


def test_a_given_file_is_named_after_itself(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(CONTENT)
    assert given(tmp_path / "mine.pth").origin.source == "mine.pth"
    with pytest.raises(ModelError, match=r"absent\.pth: cannot be read: No such file"):
        given(tmp_path / "absent.pth")
