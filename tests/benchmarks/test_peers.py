"""The comparison with other libraries: real processes of the agent's engines, on a small network."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.__main__ import main
from benchmarks.peers.contestants import CONTESTANTS, Contestant
from benchmarks.peers.convert import LOGITS, PICTURE
from benchmarks.peers.match import Row, play
from benchmarks.peers.report import markdown
from edge_agent.inference.choice import load_engine
from edge_agent.model.sidecar import Artifact
from tests.installed import needs_native


@pytest.fixture
def work(lite0: Artifact, tmp_path: Path) -> Path:
    """A folder of networks with one in it, whose right answer is the native engine's own."""
    directory = tmp_path / "lite0"
    shutil.copytree(lite0.directory, directory)
    picture = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    engine = load_engine(lite0, "native", "fp32", threads=1)
    np.save(directory / PICTURE, picture)
    np.save(directory / LOGITS, engine.run(np.ascontiguousarray(picture.transpose(0, 2, 3, 1))))
    engine.close()
    return tmp_path


@needs_native
def test_each_row_has_what_is_promised_and_libraries_that_are_missing_say_so(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--networks", "lite0", "--threads", "1", "--only", "native,ncnn", "--rounds", "2"]
    out = work / "rows.json"
    assert main([*options, "--pictures", "2", "--work", str(work), "--json", str(out)]) == 0
    document = json.loads(out.read_text())
    rows = {row["name"]: row for row in document["rows"]}
    row = rows["native, FP32 weights"]
    assert (row["network"], row["threads"], row["arithmetic"]) == ("lite0", 1, "fp32")
    assert row["error"] < 1e-5 < rows["native, FP16 weights"]["error"]
    assert row["p50_ms"] > 0
    assert row["anon_mb"] < row["steady_mb"] <= row["peak_mb"]
    shown = capsys.readouterr().out
    assert all(name in shown for name in rows)
    if "ncnn" not in sys.modules and document["absent"]:
        assert "not installed" in document["absent"][0]["reason"]
        assert "did not take part" in shown


@needs_native
def test_a_contestant_whose_process_ends_does_not_stop_the_others(work: Path) -> None:
    broken = Contestant("broken", "own", "fp32", options={"engine": "native", "precision": "fp64"})
    chosen = (broken, CONTESTANTS[0])
    rows, absent = play(
        "lite0", work / "lite0", chosen, 1, rounds=1, pictures=1, busy=False, report=lambda _: None
    )
    assert [row.name for row in rows] == ["native, FP16 weights"]
    assert [(a.name, "ended with status" in a.reason) for a in absent] == [("broken", True)]


def test_times_are_given_as_multiples_of_the_native_engines() -> None:
    rows = [
        Row("n", "native, FP16 weights", 2, "fp32", 5.0, 65, 64, 26, 0.1, 1e-3),
        Row("n", "other", 2, "fp32", 10.0, 200, 190, 160, 0.2, 1e-6),
    ]
    other = next(line for line in markdown(rows, [], 100).splitlines() if "other" in line)
    assert other.split("|")[3].strip() == "2.00"
