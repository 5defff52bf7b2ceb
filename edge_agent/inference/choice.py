"""Chooses engine, precision, threads and cores for a model: by evidence, or safely where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from edge_agent.config.schema import MemoryConfig, ModelConfig
from edge_agent.errors import EngineError
from edge_agent.inference import Admit, Engine, anything, evidence
from edge_agent.inference.evidence import Calibration, Evidence, EvidenceKey
from edge_agent.inference.fit import refusal
from edge_agent.inference.host import Host, read_host
from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.limits import BudgetLimits
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import Artifact, EngineName, Sidecar, is_program, role_of
from edge_agent.system import paths

NEEDED_AGREEMENT = 0.997
_SAME_LATENCY = 1.05  # within measurement noise: a repeat could reverse the order
_SAFEST_FIRST: tuple[tuple[EngineName, Precision], ...] = (
    ("native", "fp16"),
    ("native", "fp32"),
    ("xnnpack", "fp16"),
    ("xnnpack", "fp32"),
    ("torchscript", "fp16"),
    ("torchscript", "fp32"),
)

Origin = Literal["calibrated", "configured", "default"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine, precision and threads to run the model with, and the reason."""

    engine: EngineName
    precision: Precision
    threads: int
    source: Origin
    reason: str
    measured: Evidence | None = None
    """The evidence for exactly this choice; None where nothing was measured."""
    measured_at: datetime | None = None

    @property
    def arithmetic(self) -> Precision:
        """The native engine's: FP16 only where evidence decided for it. The others choose it themselves."""
        is_fp16 = self.measured is not None and self.measured.arithmetic == "fp16"
        return "fp16" if self.engine == "native" and is_fp16 else "fp32"

    @property
    def affinity(self) -> tuple[int, ...]:
        """The cores that were fastest when measured; empty for all."""
        return self.measured.affinity if self.measured else ()

    @property
    def name(self) -> str:
        return evidence.describe_way(self.engine, self.precision, self.arithmetic)


def evidence_key(sidecar: Sidecar, host: Host) -> EvidenceKey:
    """Return what calibration on this host with this model depends on."""
    return EvidenceKey(host.cpu.name, host.cpu.flags, sidecar.sha256, host.xnnpack, host.torch, host.native)


def evidence_paths(model_dir: Path, environment: Mapping[str, str]) -> tuple[Path, Path]:
    """Where evidence is looked for: beside the model, and in the state directory."""
    state = paths.state_dir_of(model_dir, environment)
    return model_dir / evidence.FILE_NAME, state / evidence.FILE_NAME


def runnable(sidecar: Sidecar, host: Host) -> tuple[tuple[EngineName, Precision], ...]:
    """The engines and precisions that the model has files for and this host a library, the safest first."""
    has_library = {
        "native": bool(host.native),
        "xnnpack": bool(host.xnnpack),
        "torchscript": bool(host.torch),
    }
    return tuple(
        (engine, precision)
        for engine, precision in _SAFEST_FIRST
        if has_library[engine] and role_of(engine, precision) in sidecar.files
    )


def arithmetics(engine: EngineName, precision: Precision, host: Host) -> tuple[Precision, ...]:
    """What `load_engine` can be asked to compute in here, the default first."""
    has_choice = engine == "native" and precision == "fp16" and host.native_fp16
    return ("fp32", "fp16") if has_choice else ("fp32",)


def best(measurements: Iterable[Evidence], limits: BudgetLimits) -> Evidence | None:
    """The policy: what fits the budget, then agrees with FP32, then is fastest; None where nothing fits.

    What stays below the soft limit is preferred, since the rest would be trimmed all the time. Among
    those that are equally fast (within 5 %) the leanest wins.
    """
    fitting = [m for m in measurements if m.steady_mb <= limits.budget_mb]
    if not fitting:
        return None
    below_soft = [m for m in fitting if m.steady_mb <= limits.soft_mb] or fitting
    most = max(m.agreement for m in below_soft)
    accurate = [m for m in below_soft if m.agreement >= min(NEEDED_AGREEMENT, most)]
    fastest_ms = min(m.latency_p50_ms for m in accurate)
    similar = [m for m in accurate if m.latency_p50_ms <= fastest_ms * _SAME_LATENCY]
    return min(similar, key=lambda m: (m.steady_mb, m.threads, len(m.affinity)))


def choose(
    config: ModelConfig,
    limits: BudgetLimits,
    sidecar: Sidecar,
    host: Host,
    calibration: Calibration | None,
    no_calibration: str = "not calibrated",
) -> Choice:
    """Choose by the configuration, the budget and the evidence, which must be valid here (`evidence.find`).

    Raises EngineError when nothing that the configuration allows can run here, BudgetError when evidence says
    that none of it fits the budget.
    """
    candidates = _asked_for(config, runnable(sidecar, host))
    if not candidates:
        raise EngineError(_nothing_runs(config, sidecar, host))
    measured = _usable(calibration, config, host, candidates) if calibration else []
    if calibration is not None and measured:
        return _by_evidence(config, limits, calibration, measured)
    engine, precision = candidates[0]
    source: Origin = "configured" if "auto" not in (config.engine, config.precision) else "default"
    why = "as configured" if source == "configured" else "the leanest that is here"
    reason = f"{why}; {no_calibration or 'not among what was calibrated'}: run `edge-agent calibrate`"
    return Choice(engine, precision, config.threads or host.default_threads, source, reason)


def choose_here(
    artifact: Artifact, model: ModelConfig, memory: MemoryConfig, environment: Mapping[str, str]
) -> Choice:
    """Choose for this host, by the evidence that is stored on it. Raises what `choose` raises."""
    host = read_host()
    where = evidence_paths(artifact.directory, environment)
    found = evidence.find(where, evidence_key(artifact.sidecar, host))
    return choose(
        model, BudgetLimits.from_config(memory), artifact.sidecar, host, found.calibration, found.reason
    )


def load_engine(
    artifact: Artifact,
    engine: EngineName,
    precision: Precision,
    *,
    threads: int,
    affinity: tuple[int, ...] = (),
    caches: Sequence[Path] = (),
    room_mb: float = math.inf,
    arithmetic: Precision = "fp32",
    admit: Admit = anything,
) -> Engine:
    """Load the model, importing only that engine. `affinity` are the cores to run on; empty for all.

    `caches` are the directories for packed weights, after the model's own. Where the
    model takes more than `room_mb`, an engine that can keeps less of its weights in memory. `arithmetic` is
    the native engine's; the others compute in the fastest that CPU and library have for the precision.

    Raises ArtifactError when a file is missing or damaged, EngineError when the library cannot run it, and
    what `admit` raises when it is given the MB that the model will take at the least.
    """
    if engine == "native":
        from edge_agent.inference.native.engine import NativeEngine

        directories = (artifact.directory, *caches)
        return NativeEngine.load(
            artifact,
            precision,
            threads=threads,
            directories=directories,
            affinity=affinity,
            room_mb=room_mb,
            arithmetic=arithmetic,
            admit=admit,
        )
    if engine == "xnnpack":
        from edge_agent.inference.xnnpack.engine import XnnpackEngine

        return XnnpackEngine.load(artifact, precision, threads=threads, affinity=affinity, admit=admit)
    from edge_agent.inference.torchscript import TorchScriptEngine

    admit(sum(file.bytes for file in artifact.sidecar.files.get(role_of(engine, precision), ())) / 1e6)
    return TorchScriptEngine.load(artifact, precision, threads=threads, affinity=affinity)


def _asked_for(
    config: ModelConfig, candidates: Iterable[tuple[EngineName, Precision]]
) -> list[tuple[EngineName, Precision]]:
    return [
        (engine, precision)
        for engine, precision in candidates
        if config.engine in ("auto", engine) and config.precision in ("auto", precision)
    ]


def _usable(
    calibration: Calibration,
    config: ModelConfig,
    host: Host,
    candidates: Sequence[tuple[EngineName, Precision]],
) -> list[Evidence]:
    """The evidence for what the configuration allows, on cores that may be used."""
    return [
        m
        for m in calibration.measurements
        if (m.engine, m.precision) in candidates
        and config.threads in (0, m.threads)
        and (not config.affinity or m.affinity in ((), config.affinity))
        and set(m.affinity) <= set(host.fastest_cores)
        and (m.engine != "native" or m.arithmetic in arithmetics(m.engine, m.precision, host))
    ]


def _by_evidence(
    config: ModelConfig, limits: BudgetLimits, calibration: Calibration, measured: Sequence[Evidence]
) -> Choice:
    found = best(measured, limits)
    if found is None:
        raise refusal(limits, measured)
    is_fixed = "auto" not in (config.engine, config.precision)
    how = (
        "as configured"
        if is_fixed
        else f"the best of {len(measured)} measured within {limits.budget_mb:g} MB"
    )
    reason = (
        f"{how}: {found.latency_p50_ms:.0f} ms, {found.steady_mb:.0f} MB, agrees with"
        f" {calibration.reference} on {found.agreement:.1%} of {calibration.pictures} pictures"
    )
    source: Origin = "configured" if is_fixed else "calibrated"
    return Choice(found.engine, found.precision, found.threads, source, reason, found, calibration.created)


def _nothing_runs(config: ModelConfig, sidecar: Sidecar, host: Host) -> str:
    problems = []
    for engine, problem in (("native", host.native_problem), ("xnnpack", host.xnnpack_problem)):
        if config.engine not in ("auto", engine):
            continue
        if not any(role.startswith("xnnpack-") for role in sidecar.files):
            problems.append(f"{engine}: the model has no plan for it ({sidecar.not_lowered or 'not built'})")
        elif problem:
            problems.append(f"{engine}: {problem}")
    if config.engine in ("auto", "torchscript"):
        if any(map(is_program, sidecar.left_out)):
            problems.append("torchscript: its files were left out of the bundle that the model came in")
        elif not host.torch:
            problems.append("torchscript: torch is not installed (pip install 'edge-agent[torch]')")
    if config.precision != "auto":
        problems.append(
            f"precision {config.precision} is asked for; the model has {', '.join(sidecar.files)}"
        )
    asked = f"engine {config.engine}, precision {config.precision}"
    return f"model {sidecar.name} cannot run here with {asked}: {'; '.join(problems) or 'it has no files'}"
