"""The rendered set to train on: days and nights of a scene, in bursts, the same each time."""

from __future__ import annotations

from pathlib import Path

from benchmarks.training import main
from edge_agent.sources.picture import read_picture
from edge_agent.tools.train.bursts import bursts_of
from edge_agent.tools.train.dataset import labels_of, read_dataset


def test_a_scene_becomes_a_set_with_a_burst_by_day_and_one_at_night(tmp_path: Path) -> None:
    for folder in ("one", "same"):
        assert main(["--scene", "gate", "--days", "2", str(tmp_path / folder)]) == 0
    items = read_dataset(tmp_path / "one")
    assert labels_of(items) == ("closed", "open")
    assert len(items) == 16
    assert len(set(bursts_of(items))) == 8
    same = read_dataset(tmp_path / "same")
    assert all(
        one.path.read_bytes() == other.path.read_bytes() for one, other in zip(items, same, strict=True)
    )
    assert main(["--scene", "gate", "--days", "1", "--whole", str(tmp_path / "whole")]) == 0
    assert read_picture(read_dataset(tmp_path / "whole")[0].path).shape == (480, 640, 3)
