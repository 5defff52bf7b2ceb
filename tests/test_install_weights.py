"""Weights that install.sh downloads, and the way from an older release with torch: as before, or finished."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_agent.model.sidecar import Artifact
from tests.installing import Board, set_version

ARCH = "squeezenet1_1"


@dataclass
class Site:
    """A server of weights, what it sends, and what it was asked."""

    body: bytes
    announced_bytes: int
    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def weights() -> bytes:
    """A state dict of the network, from a seed."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from torchvision import models

    torch.manual_seed(1)
    file = io.BytesIO()
    torch.save(models.get_model(ARCH, weights=None).state_dict(), file)
    return file.getvalue()


@pytest.fixture
def site(weights: bytes) -> Iterator[Site]:
    answers = Site(weights, len(weights))

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            answers.asked.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", str(answers.announced_bytes))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(answers.body)

        def log_message(self, *_args: object) -> None:
            """Keep the tests' output to themselves."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        answers.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield answers
        server.shutdown()


@pytest.fixture
def board(tmp_path: Path, lite0: Artifact, site: Site) -> Board:
    """Its checkout takes the network's weights from `site`, by their hash."""
    board = Board.make(tmp_path / "board", lite0.directory)
    path = board.checkout / f"edge_agent/tools/builder/skeletons/{ARCH}.skeleton"
    with zipfile.ZipFile(path) as skeleton:
        (name,) = skeleton.namelist()
        content = json.loads(skeleton.read(name))
    digest = hashlib.sha256(site.body).hexdigest()
    content["url"] = f"{site.url}/models/{ARCH}-{digest[:8]}.pth"
    with zipfile.ZipFile(path, "w") as skeleton:
        skeleton.writestr(name, json.dumps(content))
    return board


def sidecar(board: Board) -> dict[str, object]:
    read: dict[str, object] = json.loads((board.state / "model/model.json").read_text())
    return read


def test_weights_are_downloaded_and_become_the_model_and_nothing_else_is_left(
    board: Board, site: Site
) -> None:
    done = board.install("--arch", ARCH, lean=False)
    assert done.returncode == 0, done.stdout
    assert "First label: lorikeet" in done.stdout
    assert sidecar(board)["arch"] == ARCH
    assert [line.split()[0] for line in site.asked] == ["HEAD", "GET"]
    assert not list(board.root.rglob("*.pth"))
    assert not (board.current / "share/edge-agent/torch").exists()


def test_weights_with_another_hash_are_refused_and_what_ran_before_goes_on(board: Board, site: Site) -> None:
    assert board.install().returncode == 0
    before = board.snapshot()
    site.body = site.body[:-1] + bytes([site.body[-1] ^ 1])
    done = board.install("--arch", ARCH, lean=False)
    assert done.returncode == 1
    assert re.search(r"damaged or incomplete \(its sha256 is [0-9a-f]{8}", done.stdout), done.stdout
    assert board.snapshot() == before


@pytest.mark.parametrize("healthy", [True, False])
def test_a_release_with_torch_that_nothing_needs_is_followed_by_one_without_and_stays_the_way_back(
    board: Board, healthy: bool
) -> None:
    assert board.install().returncode == 0
    old = board.current.readlink()
    (board.current / "share/edge-agent/lean").unlink()  # so an older install.sh left a release with torch
    before = board.snapshot()
    if not healthy:
        board.make_sick("1.1.0")
    set_version(board.checkout, "1.1.0")
    done = board.install("--upgrade", lean=False)
    assert done.returncode == (not healthy), done.stdout
    assert "Torch: not in the new release, since nothing here runs on it (--torch keeps it)" in done.stdout
    if healthy:
        assert not (board.current / "share/edge-agent/torch").exists()
        assert (board.root / "opt/edge-agent/previous").readlink() == old
    else:
        assert "the old one runs again" in done.stdout
        assert board.snapshot() == before


@pytest.mark.parametrize("given", [True, False], ids=["a file", "the server says"])
def test_weights_that_this_board_cannot_hold_are_refused_before_anything_is_changed(
    board: Board, site: Site, tmp_path: Path, given: bool
) -> None:
    large = tmp_path / "large.pth"
    with large.open("wb") as file:
        file.truncate(10**12)
    site.announced_bytes = 10**12
    done = board.install("--arch", ARCH, *(("--weights", large) if given else ()), lean=False)
    assert done.returncode == 1
    assert re.search(
        r"\d+ MB of memory are too little to build a model from 1000001 MB of weights", done.stdout
    )
    assert re.search(r"\d+ MB free, \d+ MB are needed there", done.stdout)
    assert not list((board.root / "opt").glob("*"))
