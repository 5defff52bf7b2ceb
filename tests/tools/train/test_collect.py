"""Pictures are collected from the configured source: new ones alone, whole, within limits."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from edge_agent.cli import main
from edge_agent.commands.collect import span_s
from edge_agent.errors import UsageError
from edge_agent.model.sidecar import Artifact
from edge_agent.sources.picture import read_picture
from edge_agent.system.lock import DirectoryLock
from edge_agent.tools.train.collect import Album, Limits, collect
from edge_agent.tools.train.dataset import read_dataset
from edge_agent.tools.train.likeness import NEAR_COSINE, Newness, signs
from tests.clock import FakeClock
from tests.tools.train.scenes import scene

MB = 1 << 20


def camera(folder: Path, model: Path | None = None, **more: Any) -> Path:
    """The configuration of an agent whose camera is the pictures in `folder`, played once."""
    config = folder.with_name("edge-agent.yaml")
    document = {
        "source": {"type": "folder", "folder": {"path": str(folder), "loop": False}, "fps": 0},
        "model": {"path": str(model or folder / "no-model"), "threads": 1},
        "memory": {"budget_mb": 1024},
    }
    config.write_text(yaml.safe_dump(document | more))
    return config


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Three days of an open gate, each taken twice."""
    folder = tmp_path / "camera"
    folder.mkdir()
    for day in range(3):
        for twice in "ab":
            Image.fromarray(scene("open", day, 0)).save(folder / f"{day}{twice}.png")
    return folder


def test_what_was_seen_before_is_left_out_and_the_rest_is_a_set(
    shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["collect", "--label", "open", "--every", "0s", "--output", str(tmp_path / "data")]
    assert main([*command, "--config", str(camera(shots)), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"label": "open", "kept": 3, "alike": 3, "ended": "the source has ended"}
    assert "a coarse fingerprint" in said.err
    items = read_dataset(tmp_path / "data")
    assert [item.label for item in items] == ["open"] * 3
    assert all(item.time_s is not None and abs(item.time_s - time.time()) < 600 for item in items)
    assert read_picture(items[0].path).shape == (64, 64, 3)


def test_the_region_alone_is_kept_and_the_networks_features_tell_what_is_alike(
    shots: Path, tmp_path: Path, lite0: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    regions = {"left": {"box": [0.0, 0.0, 0.5, 1.0]}, "top": {"box": [0.0, 0.0, 1.0, 0.25]}}
    config = str(camera(shots, lite0.directory, regions=regions))
    command = [
        "collect",
        "--label",
        "open",
        "--every",
        "0",
        "--output",
        str(tmp_path / "data"),
        "--config",
        config,
    ]
    assert main(command) == 2
    assert "name one by --region: left, top, frame" in capsys.readouterr().err
    assert main([*command, "--region", "left", "--count", "2"]) == 0
    said = capsys.readouterr()
    assert "2 pictures kept, 1 left out as nearly the same: that is all that was wanted" in said.out
    assert said.err == ""
    assert {read_picture(item.path).shape for item in read_dataset(tmp_path / "data")} == {(64, 32, 3)}
    assert main([*command, "--region", "right"]) == 2


def frames(clock: FakeClock, number: int) -> Iterator[NDArray[np.uint8] | None]:
    for day in range(number):
        clock.advance(1.0)
        yield None
        yield scene("open", day, 0)


@pytest.mark.parametrize(
    ("limits", "kept", "reason"),
    [
        (Limits(MB, 0, count=2), 2, "that is all that was wanted"),
        (Limits(MB, 0, for_s=3.0), 2, "the time is over"),
        (Limits(3000, 0), 1, "--max-mb"),
        (Limits(MB, 1 << 60), 0, "--keep-free-mb"),
        (Limits(MB, 0), 4, "the source has ended"),
    ],
)
def test_collecting_ends_by_itself(tmp_path: Path, limits: Limits, kept: int, reason: str) -> None:
    clock = FakeClock()
    album = Album(tmp_path, "open", limits, clock)
    found = collect(frames(clock, 4), album, signs, Newness(NEAR_COSINE), limits, clock)
    assert found.kept == kept
    assert reason in found.ended
    assert len(list((tmp_path / "open").iterdir())) == kept


def test_pictures_of_one_moment_and_of_an_earlier_time_keep_names_of_their_own(tmp_path: Path) -> None:
    clock, limits = FakeClock(), Limits(MB, 0)
    paths = [Album(tmp_path, "open", limits, clock).add(b"picture") for _ in range(3)]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert [path.name for path in paths] == [
        "20250615T150640.000Z.jpg",
        "20250615T150640.001Z.jpg",
        "20250615T150640.002Z.jpg",
    ]
    assert Album(tmp_path, "open", Limits(30, 0), clock).lacks_room(10)


@pytest.mark.parametrize("label", ["a/b", "..", ".hidden", "unknown", "", " x", "a\nb"])
def test_a_label_that_no_folder_can_be_called_is_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(UsageError, match="--label"):
        Album(tmp_path, label, Limits(MB, 0), FakeClock())
    assert not list(tmp_path.iterdir())


def test_a_set_that_a_table_decides_about_gets_no_pictures_that_it_does_not_name(tmp_path: Path) -> None:
    (tmp_path / "pictures.csv").write_text("path,label\n")
    with pytest.raises(UsageError, match=r"pictures\.csv: this table says"):
        Album(tmp_path, "open", Limits(MB, 0), FakeClock())


def test_the_running_agent_is_named_where_there_is_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "camera").mkdir()
    config = camera(tmp_path / "camera")
    command = ["collect", "--label", "open", "--output", str(tmp_path / "data"), "--config", str(config)]
    assert main(command) == 1
    assert "the running agent" not in capsys.readouterr().err
    lock = DirectoryLock(tmp_path / "state")
    assert main(command) == 1
    lock.close()
    assert "has the camera" in (said := capsys.readouterr().err)
    assert "systemctl stop edge-agent" in said


def test_ctrl_c_ends_it_with_a_count(shots: Path, tmp_path: Path) -> None:
    source = {"type": "folder", "folder": {"path": str(shots), "loop": True}, "fps": 0}
    command = ["collect", "--label", "open", "--every", "0.05s", "--output", str(tmp_path / "data")]
    with subprocess.Popen(
        [sys.executable, "-m", "edge_agent", *command, "--config", str(camera(shots, source=source))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        for _ in range(600):
            if len(list((tmp_path / "data").rglob("*.jpg"))) == 3:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "data/open: 3 pictures kept" in out
    assert out.endswith(": stopped\n")


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5.0), ("5s", 5.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0)]
)
def test_a_time_is_written_with_its_unit(text: str, seconds: float) -> None:
    assert span_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "5 s", "1w", "9e9", "1" * 40, "nan"])
def test_no_other_time_is_taken(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time"):
        span_s(text)
