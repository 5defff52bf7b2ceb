"""Evidence on disk: what is written is read back, and what is damaged or stale is not used."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.inference import evidence
from edge_agent.inference.evidence import Calibration, Evidence, EvidenceError, EvidenceKey, Failure

_KEY = EvidenceKey("Cortex-A76", ("asimd", "asimdhp"), "abc", "libXNNPACK.so.0", "2.9.1")
_CALIBRATION = Calibration(
    key=_KEY,
    created=datetime(2025, 6, 1, 12, tzinfo=UTC),
    pictures=6,
    reference="torchscript fp32",
    measurements=(
        Evidence("xnnpack", "fp16", 4, "fp16", "libXNNPACK.so.0", 3, 0.2, 40.5, 44, 84, 90, 1.0, 1e-4),
        Evidence("xnnpack", "fp16", 2, "fp16", "libXNNPACK.so.0", 3, 0.2, 41, 44, 84, 90, 1.0, 1e-4, (4, 5)),
    ),
    failures=(Failure("torchscript", "fp16", "torch is not installed"),),
)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "state" / "calibration.json"
    evidence.write(_CALIBRATION, path)
    assert evidence.read(path) == _CALIBRATION
    assert [entry.name for entry in path.parent.iterdir()] == ["calibration.json"]


def test_evidence_for_this_machine_is_found(tmp_path: Path) -> None:
    evidence.write(_CALIBRATION, tmp_path / "b.json")
    found = evidence.find([tmp_path / "a.json", tmp_path / "b.json"], _KEY)
    assert (found.calibration, found.reason) == (_CALIBRATION, "")


def test_no_evidence_is_said(tmp_path: Path) -> None:
    assert evidence.find([tmp_path / "a.json"], _KEY) == evidence.Found(None, "not calibrated")


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (replace(_KEY, model_sha256="def"), "another model"),
        (replace(_KEY, cpu_flags=("asimd",)), "another CPU (Cortex-A76)"),
        (replace(_KEY, xnnpack="libXNNPACK.so.0.20241108"), "libXNNPACK.so.0 then"),
        (replace(_KEY, torch=""), "torch 2.9.1 then"),
        (replace(_KEY, torch="", model_sha256="def"), "another model, torch 2.9.1 then"),
    ],
)
def test_evidence_for_something_else_is_stale(tmp_path: Path, now: EvidenceKey, reason: str) -> None:
    path = tmp_path / "a.json"
    evidence.write(_CALIBRATION, path)
    found = evidence.find([path], now)
    assert found == evidence.Found(None, f"the calibration in {path} is for {reason}")


def test_a_stale_file_does_not_hide_a_good_one(tmp_path: Path) -> None:
    evidence.write(replace(_CALIBRATION, key=replace(_KEY, torch="1.0")), tmp_path / "a.json")
    evidence.write(_CALIBRATION, tmp_path / "b.json")
    assert evidence.find([tmp_path / "a.json", tmp_path / "b.json"], _KEY).calibration == _CALIBRATION


def _damaged(path: tuple[str | int, ...], value: Any) -> Any:
    document = json.loads(json.dumps(evidence.to_json(_CALIBRATION)))
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return document


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"schema": 1},
        _damaged(("schema",), 2),
        _damaged(("created",), "yesterday"),
        _damaged(("key", "cpu"), 5),
        _damaged(("measurements", 0, "engine"), "tensorrt"),
        _damaged(("measurements", 0, "precision"), "int8"),
        _damaged(("measurements", 0, "threads"), 0),
        _damaged(("measurements", 0, "steady_mb"), -1),
        _damaged(("measurements", 0, "steady_mb"), float("nan")),
        _damaged(("measurements", 0, "latency_p50_ms"), "fast"),
        _damaged(("measurements",), None),
    ],
)
def test_damaged_evidence_is_refused_with_the_name_of_its_file(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(value))
    with pytest.raises(EvidenceError, match=r"calibration\.json"):
        evidence.read(path)
    assert evidence.find([path], _KEY).calibration is None


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_any_file_is_evidence_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("evidence") / "calibration.json"
    path.write_bytes(content)
    with pytest.raises(EvidenceError):
        evidence.read(path)


def test_a_file_that_is_much_too_large_is_refused_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    evidence.write(_CALIBRATION, path)
    os.truncate(path, 1 << 40)  # more than any memory holds
    found = evidence.find([path], _KEY)
    problem = f"{path} cannot be used (it is larger than 1 MB): run `edge-agent calibrate` again"
    assert found == evidence.Found(None, problem)


def test_evidence_from_before_cores_were_measured_is_for_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    evidence.write(_CALIBRATION, path)
    older = json.loads(path.read_text())
    for measurement in older["measurements"]:
        del measurement["affinity"]
    path.write_text(json.dumps(older))
    assert {m.affinity for m in evidence.read(path).measurements} == {()}


def test_a_measurement_is_named_by_its_threads_and_cores() -> None:
    assert [m.name for m in _CALIBRATION.measurements] == [
        "xnnpack fp16, 4 threads",
        "xnnpack fp16, 2 threads on the cores 4, 5",
    ]
