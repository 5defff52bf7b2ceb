"""The results of calibration as a JSON file. The daemon reads it, so nothing heavy is imported here.

Evidence is valid for one CPU, one model and the library versions that were measured. `why_stale` says which
of them has changed since; stale evidence is not used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from edge_agent.errors import EdgeAgentError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import EngineName
from edge_agent.system.files import write_atomic
from edge_agent.system.json_reader import JsonError, MismatchError, Rule, at_least, parse
from edge_agent.system.json_reader import read as read_json

SCHEMA = 1
FILE_NAME = "calibration.json"
_LARGEST_BYTES = 1 << 20

Positive = Annotated[float, Rule(lambda number: number > 0, "expected a number above 0")]


class EvidenceError(EdgeAgentError):
    """The evidence cannot be read."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One engine, precision and thread count, measured in processes of their own; medians over the runs."""

    engine: EngineName
    precision: Precision
    threads: Annotated[int, at_least(1)]
    arithmetic: str
    library: str
    runs: int
    load_s: float
    latency_p50_ms: Positive
    latency_p95_ms: Positive
    steady_mb: Positive
    """Resident memory of the process while it classifies, after a trim."""
    peak_mb: float
    agreement: float
    """Share of the pictures with the same first label as the reference, 0 to 1."""
    largest_probability_error: float
    affinity: tuple[int, ...] = ()
    """The cores that were used; empty for all."""

    @property
    def name(self) -> str:
        way = describe_way(self.engine, self.precision, self.arithmetic)
        return f"{way}, {describe_threads(self.threads, self.affinity)}"


def describe_way(engine: EngineName, precision: Precision, arithmetic: str) -> str:
    """Return engine and precision in words, and the arithmetic where there is a choice of it."""
    is_fp16 = engine == "native" and arithmetic == "fp16"
    return f"{engine} {precision}" + (" in FP16 arithmetic" if is_fp16 else "")


def describe_threads(threads: int, affinity: tuple[int, ...]) -> str:
    """Return threads and cores in words: `2 threads on the cores 4, 5`."""
    cores = f" on the core{'s' if len(affinity) != 1 else ''} {', '.join(map(str, affinity))}"
    return f"{threads} thread{'s' if threads != 1 else ''}" + (cores if affinity else "")


@dataclass(frozen=True, slots=True)
class Failure:
    """A candidate that could not be measured, and why."""

    engine: EngineName
    precision: Precision
    reason: str


@dataclass(frozen=True, slots=True)
class EvidenceKey:
    """The CPU, model and libraries that the evidence is valid for."""

    cpu: str
    cpu_flags: tuple[str, ...]
    model_sha256: str
    xnnpack: str
    """The library's soname; empty where there is none."""
    torch: str
    """The version; empty where torch is not installed."""
    native: str = ""
    """The native kernels; empty where there are none."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything that calibration found."""

    key: EvidenceKey
    created: datetime
    """UTC."""
    pictures: int
    reference: str
    """The engine and precision that agreement is measured against, for instance `torchscript fp32`."""
    measurements: tuple[Evidence, ...]
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The evidence that is valid here, or the reason why there is none."""

    calibration: Calibration | None
    reason: str


def why_stale(then: EvidenceKey, now: EvidenceKey) -> str:
    """Return what has changed since the measurement, in words; empty when the evidence is still valid."""
    changes = [
        ("another model", then.model_sha256 != now.model_sha256),
        (f"another CPU ({then.cpu})", (then.cpu, then.cpu_flags) != (now.cpu, now.cpu_flags)),
        (f"{then.xnnpack or 'no libXNNPACK'} then", then.xnnpack != now.xnnpack),
        (f"{then.native or 'no native kernels'} then", then.native != now.native),
        (f"torch {then.torch or 'absent'} then", then.torch != now.torch),
    ]
    return ", ".join(text for text, has_changed in changes if has_changed)


def find(paths: Iterable[Path], key: EvidenceKey) -> Found:
    """Return the first evidence at `paths` that is valid for `key`."""
    reason = "not calibrated"
    for path in paths:
        if not path.is_file():
            continue
        try:
            calibration = read(path)
        except EvidenceError as error:
            reason = str(error)
            continue
        if not (stale := why_stale(calibration.key, key)):
            return Found(calibration, "")
        reason = f"the calibration in {path} is for {stale}"
    return Found(None, reason)


def read(path: Path) -> Calibration:
    """Read evidence that `write` has written. Raises EvidenceError, naming the file, when it is damaged."""
    try:
        with path.open("rb") as file:
            contents = file.read(_LARGEST_BYTES + 1)
        return _decode(contents)
    except (OSError, JsonError) as error:
        raise EvidenceError(f"{path} cannot be used ({error}): run `edge-agent calibrate` again") from None


def write(calibration: Calibration, path: Path) -> None:
    """Write the evidence, or leave the old file as it was. Raises OSError when that is impossible."""
    write_atomic(path, json.dumps(to_json(calibration), indent=2) + "\n")


def to_json(calibration: Calibration) -> dict[str, Any]:
    """Return the evidence in JSON's own types."""
    return {"schema": SCHEMA} | asdict(calibration) | {"created": calibration.created.isoformat()}


@dataclass(frozen=True, slots=True)
class _Head:
    schema: int


def _decode(contents: bytes) -> Calibration:
    if len(contents) > _LARGEST_BYTES:
        raise JsonError(f"it is larger than {_LARGEST_BYTES >> 20} MB")
    document = parse(contents)
    if (schema := read_json(_Head, document).schema) != SCHEMA:
        raise MismatchError("schema", f"is {schema}, but this version reads {SCHEMA}")
    return read_json(Calibration, document)
