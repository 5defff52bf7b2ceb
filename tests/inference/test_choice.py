"""Choosing an engine: the policy by example and for any measurements, and what is said where nothing fits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.schema import MemoryConfig, ModelConfig
from edge_agent.errors import BudgetError, EngineError
from edge_agent.inference import evidence
from edge_agent.inference.choice import (
    Choice,
    arithmetics,
    best,
    choose,
    choose_here,
    evidence_key,
    evidence_paths,
    runnable,
)
from edge_agent.inference.evidence import Calibration, Evidence
from edge_agent.inference.fit import check_floor
from edge_agent.inference.host import Host, read_host
from edge_agent.memory.limits import BudgetLimits
from edge_agent.model.sidecar import (
    Artifact,
    ArtifactFile,
    Preprocessing,
    Sidecar,
    WeightsOrigin,
    without_programs,
)
from edge_agent.system.board import Cpu

_FILE = ArtifactFile("a", 1, "0" * 64)
_SIDECAR = Sidecar(
    name="resnet18",
    arch="resnet18",
    created="2025-01-01T00:00:00Z",
    torch_version="2.9.1",
    weights=WeightsOrigin("test", "0" * 64),
    preprocessing=Preprocessing(256, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    labels=("cat", "dog"),
    files={
        "torchscript-fp16": (_FILE,),
        "torchscript-fp32": (_FILE,),
        "xnnpack-fp16": (_FILE, _FILE),
        "xnnpack-fp32": (_FILE, _FILE),
    },
    sha256="abc",
)
_HOST = Host(Cpu("Cortex-A72", 4, ("asimd",)), 4, "libXNNPACK.so.0", "", "2.9.1")
_WIDE = BudgetLimits(budget_mb=1000, soft_mb=900)

_LEAN = Evidence("xnnpack", "fp16", 4, "fp32", "libXNNPACK.so.0", 3, 0.2, 80, 90, 84, 90, 1.0, 1e-4)
_FAST = replace(_LEAN, engine="torchscript", precision="fp32", latency_p50_ms=70, steady_mb=290)
_WRONG = replace(_LEAN, precision="fp32", latency_p50_ms=40, steady_mb=60, agreement=0.98)


def _calibration(*measurements: Evidence) -> Calibration:
    key = evidence_key(_SIDECAR, _HOST)
    return Calibration(key, datetime(2025, 6, 1, tzinfo=UTC), 50, "torchscript fp32", measurements)


def test_what_is_fastest_within_the_budget_is_chosen() -> None:
    assert best([_LEAN, _FAST], _WIDE) == _FAST
    assert best([_LEAN, _FAST], BudgetLimits(128, 115)) == _LEAN


def test_speed_does_not_make_up_for_wrong_answers() -> None:
    assert best([_LEAN, _WRONG], _WIDE) == _LEAN


def test_where_nothing_agrees_enough_what_agrees_most_is_taken() -> None:
    worse = replace(_WRONG, agreement=0.9, latency_p50_ms=10)
    assert best([_WRONG, worse], _WIDE) == _WRONG


def test_of_equally_fast_ones_the_leanest_is_taken() -> None:
    hardly_faster = replace(_FAST, latency_p50_ms=79)
    assert best([_LEAN, hardly_faster], _WIDE) == _LEAN


def test_what_would_be_trimmed_all_the_time_is_the_second_choice() -> None:
    limits = BudgetLimits(budget_mb=100, soft_mb=90)
    tight_but_fast = replace(_LEAN, threads=2, steady_mb=95, latency_p50_ms=40)
    assert best([_LEAN, tight_but_fast], limits) == _LEAN
    assert best([tight_but_fast], limits) == tight_but_fast


def test_nothing_fits_a_budget_below_every_floor() -> None:
    assert best([_LEAN, _FAST], BudgetLimits(64, 58)) is None
    assert best([], _WIDE) is None


_MEASUREMENTS = st.lists(
    st.builds(
        Evidence,
        engine=st.sampled_from(("xnnpack", "torchscript")),
        precision=st.sampled_from(("fp16", "fp32")),
        threads=st.integers(1, 4),
        arithmetic=st.just("fp32"),
        library=st.just("x"),
        runs=st.just(3),
        load_s=st.just(1.0),
        latency_p50_ms=st.floats(1, 1000),
        latency_p95_ms=st.floats(1, 1000),
        steady_mb=st.floats(20, 500),
        peak_mb=st.floats(20, 500),
        agreement=st.floats(0, 1),
        largest_probability_error=st.floats(0, 1),
    ),
    max_size=12,
)


@given(_MEASUREMENTS, st.floats(10, 600))
def test_the_choice_fits_whenever_something_does_and_nothing_better_was_passed_over(
    measurements: list[Evidence], budget_mb: float
) -> None:
    limits = BudgetLimits(budget_mb, 0.9 * budget_mb)
    found = best(measurements, limits)
    fitting = [m for m in measurements if m.steady_mb <= budget_mb]
    assert (found is None) == (not fitting)
    if found is None:
        return
    assert found in fitting
    calm = [m for m in fitting if m.steady_mb <= limits.soft_mb]
    rivals = [m for m in calm or fitting if m.agreement >= max(found.agreement, 0.997)]
    assert all(m.latency_p50_ms * 1.05 >= found.latency_p50_ms for m in rivals)


def test_evidence_decides_and_is_quoted() -> None:
    choice = choose(ModelConfig(), BudgetLimits(128, 115), _SIDECAR, _HOST, _calibration(_LEAN, _FAST))
    assert (choice.name, choice.source, choice.measured) == ("xnnpack fp16", "calibrated", _LEAN)
    assert choice.reason == (
        "the best of 2 measured within 128 MB: 80 ms, 84 MB,"
        " agrees with torchscript fp32 on 100.0% of 50 pictures"
    )


def test_a_budget_below_the_measured_floor_is_refused_with_what_would_fit() -> None:
    with pytest.raises(BudgetError) as refused:
        choose(ModelConfig(), BudgetLimits(64, 57.6), _SIDECAR, _HOST, _calibration(_LEAN, _FAST))
    assert str(refused.value) == (
        "memory.budget_mb is 64, and nothing measured here fits it (xnnpack fp16, 4 threads: 84 MB;"
        " torchscript fp32, 4 threads: 290 MB): set it to 94 or more, or use a smaller model"
    )
    assert refused.value.exit_code == 2


def test_a_budget_that_only_one_precision_fits_gets_that_one() -> None:
    larger = replace(_LEAN, precision="fp32", steady_mb=120, latency_p50_ms=60)
    choice = choose(ModelConfig(), BudgetLimits(100, 90), _SIDECAR, _HOST, _calibration(larger, _LEAN))
    assert choice.name == "xnnpack fp16"


def test_what_the_owner_fixes_is_kept_and_only_the_threads_are_chosen() -> None:
    config = ModelConfig(engine="torchscript", precision="fp32")
    fewer = replace(_FAST, threads=2, latency_p50_ms=60)
    choice = choose(config, _WIDE, _SIDECAR, _HOST, _calibration(_LEAN, _FAST, fewer))
    assert (choice.name, choice.threads, choice.source) == ("torchscript fp32", 2, "configured")


def test_fixed_threads_are_kept() -> None:
    fewer = replace(_LEAN, threads=2, latency_p50_ms=100)
    choice = choose(ModelConfig(threads=2), _WIDE, _SIDECAR, _HOST, _calibration(_LEAN, _FAST, fewer))
    assert choice.measured == fewer
    assert choose(ModelConfig(threads=3), _WIDE, _SIDECAR, _HOST, _calibration(_LEAN)).threads == 3


def test_without_evidence_the_leanest_is_taken_and_it_says_so() -> None:
    choice = choose(ModelConfig(), _WIDE, _SIDECAR, _HOST, None)
    assert (choice.name, choice.threads, choice.source) == ("xnnpack fp16", 4, "default")
    assert choice.reason == "the leanest that is here; not calibrated: run `edge-agent calibrate`"


def test_without_the_library_torch_takes_over() -> None:
    host = replace(_HOST, xnnpack="", xnnpack_problem="libXNNPACK is not installed")
    assert choose(ModelConfig(), _WIDE, _SIDECAR, host, None).name == "torchscript fp16"
    assert runnable(_SIDECAR, host) == (("torchscript", "fp16"), ("torchscript", "fp32"))


def test_a_model_that_could_not_be_lowered_runs_on_torch() -> None:
    files = {role: f for role, f in _SIDECAR.files.items() if role.startswith("torchscript")}
    sidecar = replace(_SIDECAR, files=files, not_lowered="aten::grid_sampler in warp")
    assert choose(ModelConfig(), _WIDE, sidecar, _HOST, None).name == "torchscript fp16"
    with pytest.raises(EngineError, match=r"no plan for it \(aten::grid_sampler in warp\)"):
        choose(ModelConfig(engine="xnnpack"), _WIDE, sidecar, _HOST, None)


def test_where_nothing_can_run_every_obstacle_is_named() -> None:
    host = replace(_HOST, xnnpack="", xnnpack_problem="libXNNPACK is not installed", torch="")
    with pytest.raises(EngineError, match=r"libXNNPACK is not installed.*torch is not installed"):
        choose(ModelConfig(), _WIDE, _SIDECAR, host, None)


def test_torchscript_that_was_left_out_of_a_bundle_is_said_where_it_is_asked_for() -> None:
    sidecar = without_programs(_SIDECAR)
    assert choose(ModelConfig(), _WIDE, sidecar, _HOST, None).name == "xnnpack fp16"
    with pytest.raises(EngineError, match="torchscript: its files were left out of the bundle"):
        choose(ModelConfig(engine="torchscript"), _WIDE, sidecar, _HOST, None)


def test_an_agent_that_needs_more_than_its_budget_is_told_what_would_fit() -> None:
    check_floor("torchscript fp16", BudgetLimits(210, 189), 205)
    with pytest.raises(BudgetError) as refused:
        check_floor("torchscript fp16", BudgetLimits(128, 115.2), 205.4, (_LEAN, _FAST))
    assert str(refused.value) == (
        "memory.budget_mb is 128, and the agent with torchscript fp16 needs 205 MB here:"
        " set it to 229 or more, or choose a leaner way (xnnpack fp16, 4 threads took 84 MB)"
    )


def test_this_host_is_read_without_importing_torch() -> None:
    code = (
        "import sys; from edge_agent.inference.host import read_host; h = read_host();"
        "print(h.torch, h.default_threads, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    version, threads, imported = done.stdout.split()
    assert version[0].isdigit()
    assert 1 <= int(threads) <= 4
    assert imported == "False"


def test_evidence_beside_the_model_is_used_here_and_stale_evidence_is_not(tmp_path: Path) -> None:
    host = read_host()
    threads = host.default_threads
    name, precision = runnable(_SIDECAR, host)[-1]
    measured = replace(_LEAN, engine=name, precision=precision, threads=threads)
    calibration = replace(_calibration(measured), key=evidence_key(_SIDECAR, host))
    environment = {"HOME": str(tmp_path)}
    artifact = Artifact(tmp_path, _SIDECAR)

    def here() -> Choice:
        return choose_here(artifact, ModelConfig(), MemoryConfig(budget_mb=128), environment)

    assert here().source == "default"
    evidence.write(calibration, evidence_paths(tmp_path, environment)[0])
    assert here().measured == measured
    evidence.write(
        replace(calibration, key=replace(calibration.key, xnnpack="libXNNPACK.so.9")),
        tmp_path / "calibration.json",
    )
    assert (here().source, "libXNNPACK.so.9 then" in here().reason) == ("default", True)


_UNEQUAL = replace(_HOST, fastest_cores=(4, 5))
_PINNED = replace(_LEAN, threads=2, affinity=(4, 5), latency_p50_ms=50)


def test_the_cores_that_were_measured_to_be_best_are_chosen() -> None:
    choice = choose(ModelConfig(), _WIDE, _SIDECAR, _UNEQUAL, _calibration(_LEAN, _PINNED))
    assert (choice.threads, choice.affinity) == (2, (4, 5))


def test_configured_cores_are_not_overruled_by_evidence_for_others() -> None:
    config = ModelConfig(affinity=(0, 1))
    choice = choose(config, _WIDE, _SIDECAR, _UNEQUAL, _calibration(_LEAN, _PINNED))
    assert (choice.threads, choice.affinity) == (4, ())


def test_evidence_for_cores_that_may_not_be_used_here_does_not_count() -> None:
    choice = choose(ModelConfig(), _WIDE, _SIDECAR, _HOST, _calibration(_LEAN, _PINNED))
    assert choice.affinity == ()


_NATIVE = replace(_SIDECAR, files=_SIDECAR.files | {"native-fp16": (_FILE, _FILE)})
_FP16_HOST = replace(_HOST, native="kernels, NEON", native_fp16="kernels, ARMv8.2 FP16")
_FP32_SUMS = replace(_LEAN, engine="native")
_IN_FP16 = replace(_FP32_SUMS, arithmetic="fp16", latency_p50_ms=50)


def test_fp16_arithmetic_needs_a_cpu_that_has_it_and_fp16_weights() -> None:
    assert arithmetics("native", "fp16", _FP16_HOST) == ("fp32", "fp16")
    assert arithmetics("native", "fp32", _FP16_HOST) == ("fp32",)
    assert arithmetics("native", "fp16", _HOST) == ("fp32",)


def test_fp16_arithmetic_is_chosen_only_by_evidence_that_it_agrees_and_is_faster() -> None:
    def chosen(*measurements: Evidence) -> Choice:
        found = _calibration(*measurements) if measurements else None
        return choose(ModelConfig(engine="native"), _WIDE, _NATIVE, _FP16_HOST, found)

    assert chosen().arithmetic == "fp32"
    assert chosen(_FP32_SUMS).arithmetic == "fp32"
    assert chosen(_FP32_SUMS, replace(_IN_FP16, agreement=0.99)).arithmetic == "fp32"
    taken = chosen(_FP32_SUMS, _IN_FP16)
    assert (taken.arithmetic, taken.name) == ("fp16", "native fp16 in FP16 arithmetic")


def test_evidence_for_fp16_arithmetic_counts_only_where_its_kernels_are() -> None:
    host = replace(_FP16_HOST, native_fp16="")
    choice = choose(ModelConfig(), _WIDE, _NATIVE, host, _calibration(_FP32_SUMS, _IN_FP16))
    assert choice.measured == _FP32_SUMS
