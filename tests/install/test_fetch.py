"""A bundle comes over HTTPS alone, whole and as pinned, or is refused with why; servers may be hostile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edge_agent.install.order import MEMORY_MB, Order, longest_s
from tests.install.bundles import bundle, sha256
from tests.install.server import (
    Answer,
    Site,
    endless,
    file,
    redirect,
    serving,
    silent,
    slow,
    slow_head,
    status,
    without_length,
)
from tests.mqtt.brokers import free_port
from tests.mqtt.wire.certificates import Authority

FETCH = [sys.executable, "-P", "-m", "edge_agent.install.fetch"]
CONTENT = bundle(("model.json", b"{}"), ("a.weights", bytes(3 << 20)))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def answers() -> dict[str, Answer]:
    return {"/good.tar": file(CONTENT)}


@pytest.fixture
def site(authority: Authority, answers: dict[str, Answer]) -> Iterator[Site]:
    with serving(authority, answers) as served:
        yield served


def begun(
    site: Site, directory: Path, url: str = "", command: Sequence[str] = FETCH, **changes: Any
) -> subprocess.Popen[bytes]:
    directory.mkdir()
    order: dict[str, Any] = {
        "url": url or site.url("/good.tar"),
        "sha256": sha256(CONTENT),
        "bytes": len(CONTENT),
        "directory": str(directory),
        "ca_file": str(site.ca_file),
        "silence_s": 1.0,
        "longest_s": 20.0,
    }
    given = asdict(Order(**(order | changes)))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(given).encode())
    process.stdin.close()
    return process


def result(process: subprocess.Popen[bytes]) -> Mapping[str, Any]:
    with process:
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait(30) == 0
    found = json.loads(said)
    assert isinstance(found, dict)
    return found


def fetched(site: Site, tmp_path: Path, path: str = "/good.tar", **changes: Any) -> Mapping[str, Any]:
    return result(begun(site, tmp_path / "incoming", site.url(path), **changes))


def test_what_is_pinned_comes_and_is_unpacked(site: Site, tmp_path: Path) -> None:
    said = fetched(site, tmp_path)
    assert said["files"]["model.json"] == {"bytes": 2, "sha256": sha256(b"{}")}
    assert (tmp_path / "incoming/files/a.weights").read_bytes() == bytes(3 << 20)
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == ["files"]


@pytest.mark.parametrize(
    ("path", "answer", "changes", "why", "again"),
    [
        ("/x", file(CONTENT[:-512]), {}, "bytes, not", False),
        ("/x", file(CONTENT[:-1] + b"x"), {}, "its SHA-256 is", False),
        ("/x", without_length(CONTENT[:-9]), {}, "it ended after", True),
        ("/x", without_length(CONTENT + b"x"), {}, "more than", False),
        ("/x", endless, {}, "more than", False),
        ("/x", slow(0.05, CONTENT), {"longest_s": 1.5}, "too slow", True),
        ("/x", slow_head, {"longest_s": 1.5}, "too slow", True),
        ("/x", silent, {}, "too slow", True),
        ("/x", status(404), {}, "answers 404", False),
        ("/x", status(503), {}, "answers 503", True),
        ("/x", redirect("http://127.0.0.1/good.tar"), {}, "no HTTPS address", False),
        ("/x", redirect("file:///etc/passwd"), {}, "no HTTPS address", False),
        ("/x", redirect("https://me:word@127.0.0.1/"), {}, "no HTTPS address", False),
        ("/x", redirect("https://127.0.0.1:99999/"), {}, "no HTTPS address", False),
        ("/x", redirect("/x"), {}, "from one address to the next", False),
        ("/x", file(b"no bundle"), {"sha256": sha256(b"no bundle"), "bytes": 9}, "no bundle", False),
        ("/x", file(b"x"), {"bytes": 1 << 50}, "stay free", False),
    ],
)
def test_what_is_not_as_pinned_is_refused_with_why(
    site: Site,
    answers: dict[str, Answer],
    tmp_path: Path,
    path: str,
    answer: Answer,
    changes: dict[str, Any],
    why: str,
    again: bool,
) -> None:
    answers[path] = answer
    said = fetched(site, tmp_path, path, **changes)
    assert why in said["error"]
    assert said["again"] is again
    assert not (tmp_path / "incoming/files/model.json").exists()


def test_a_redirect_to_another_https_address_is_followed(
    site: Site, answers: dict[str, Answer], tmp_path: Path
) -> None:
    answers["/old.tar"] = redirect("/good.tar?token=1#part")
    answers["/good.tar?token=1"] = file(CONTENT)
    assert "files" in fetched(site, tmp_path, "/old.tar")
    assert site.asked == ["/old.tar", "/good.tar?token=1"]


def test_no_answer_is_read_beyond_the_size_that_was_said(
    site: Site, answers: dict[str, Answer], tmp_path: Path
) -> None:
    answers["/x"] = endless
    fetched(site, tmp_path, "/x")
    assert sum(path.stat().st_size for path in (tmp_path / "incoming").iterdir()) <= len(CONTENT)


def test_who_is_not_trusted_sends_nothing(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    for number, (by, certificate) in enumerate(
        [
            (stranger, stranger.issue("other")),
            (authority, authority.issue("elsewhere", address="127.0.0.2")),
            (authority, authority.issue("old", expired=True)),
        ]
    ):
        with serving(authority, {"/good.tar": file(CONTENT)}, certificate) as site:
            said = result(begun(site, tmp_path / f"incoming{number}"))
            assert "is not trusted" in said["error"], by
            assert "control.model_ca_file" in said["error"]
            assert site.asked == []


def test_nobody_there_no_name_and_no_authority(site: Site, tmp_path: Path) -> None:
    nobody = result(begun(site, tmp_path / "a", f"https://127.0.0.1:{free_port()}/x"))
    assert ("refused" in nobody["error"], nobody["again"]) == (True, True)
    missing = result(begun(site, tmp_path / "b", ca_file="/nowhere/ca.crt"))
    assert "control.model_ca_file" in missing["error"]


def test_what_it_says_never_shows_what_is_behind_the_host(site: Site, tmp_path: Path) -> None:
    said = fetched(site, tmp_path, "/secret?token=hunter2")
    assert "hunter2" not in said["error"]


def test_it_takes_no_more_memory_than_is_set_aside_for_it(site: Site, tmp_path: Path) -> None:
    script = (
        "from edge_agent.install.fetch import main\n"
        "main()\n"
        "print()\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    process = begun(site, tmp_path / "incoming", command=[sys.executable, "-P", "-c", script])
    with process:
        assert process.stdout is not None
        said, peak = process.stdout.read().splitlines()[:2]
    assert "files" in json.loads(said)
    assert int(peak.split()[1]) / 1024 <= MEMORY_MB


def test_it_ends_with_whoever_has_started_it(site: Site, answers: dict[str, Answer], tmp_path: Path) -> None:
    answers["/slow.tar"] = slow(0.02, CONTENT)
    (tmp_path / "incoming").mkdir()
    order = Order(
        site.url("/slow.tar"), sha256(CONTENT), len(CONTENT), str(tmp_path / "incoming"), str(site.ca_file)
    )
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({FETCH!r}, stdin=subprocess.PIPE)\n"
        f"child.stdin.write({json.dumps(asdict(order)).encode()!r}); child.stdin.close()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        while not site.asked:
            time.sleep(0.02)
        parent.send_signal(signal.SIGKILL)
    end_s = time.monotonic() + 5
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < end_s:
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_a_slow_line_has_the_time_that_it_needs() -> None:
    order = Order("https://example/x", "0" * 64, 160_000_000, "/nowhere")
    assert 9_000 < longest_s(order) < 12_000
