"""The doctor's verdicts on a board: each trouble is found, and reported with its remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.config.schema import MemoryConfig
from edge_agent.inference.host import Host, parse_torch_version
from edge_agent.system.board import Board, CgroupMemory, Cpu, parse_throttled
from edge_agent.system.clock import SystemClock
from edge_agent.tools.doctor import board_checks as checks
from edge_agent.tools.doctor.check import Check, text

_HOST = Host(Cpu("Cortex-A76", 4, ("asimd", "asimdhp")), 4, "libXNNPACK.so.0", "", "2.9.1+cpu")


def test_a_pi_5_is_fine() -> None:
    check = checks.cpu(_HOST, "aarch64")
    assert (check.verdict, check.found) == ("ok", "Cortex-A76, 4 cores, aarch64, FP16 arithmetic")


def test_a_32_bit_system_cannot_be_used() -> None:
    check = checks.cpu(_HOST, "armv7l")
    assert (check.verdict, check.advice) == ("fail", "install a 64-bit operating system")


def test_a_missing_library_is_reported_with_how_to_install_it() -> None:
    host = replace(_HOST, xnnpack="", xnnpack_problem="sudo apt install libxnnpack0")
    check = checks.xnnpack_engine(host)
    assert (check.verdict, check.advice) == ("warn", "sudo apt install libxnnpack0")


def test_no_library_is_missed_where_the_native_kernels_are_there() -> None:
    host = replace(_HOST, xnnpack="", xnnpack_problem="not there", native="edge-agent kernels 1a2b, NEON")
    assert checks.xnnpack_engine(host).verdict == "ok"
    assert checks.native_engine(host).found == "edge-agent kernels 1a2b, NEON"


def test_missing_kernels_are_reported_with_what_to_do() -> None:
    check = checks.native_engine(replace(_HOST, native="", native_problem="none was compiled: install gcc"))
    assert (check.verdict, check.advice) == ("warn", "none was compiled: install gcc")


def test_a_torch_for_gpus_is_a_burden_on_a_board_only() -> None:
    host = replace(_HOST, torch="2.11.0", torch_cuda="13.0")
    assert checks.torch(host, "aarch64").verdict == "warn"
    assert "torch<2.11" in checks.torch(host, "aarch64").advice
    assert checks.torch(host, "x86_64").verdict == "ok"


def test_torch_may_be_absent() -> None:
    assert checks.torch(replace(_HOST, torch=""), "aarch64").verdict == "ok"


def test_the_build_of_torch_is_read_from_its_version_file() -> None:
    build = parse_torch_version("__version__ = '2.14.1+cu130'\ncuda: Optional[str] = '13.0'\nhip = None\n")
    assert (build.version, build.cuda) == ("2.14.1+cu130", "13.0")
    build = parse_torch_version("__version__ = '2.9.1+cpu'\ncuda: Optional[str] = None\nhip = '6.4'\n")
    assert (build.version, build.cuda) == ("2.9.1+cpu", "")


@pytest.mark.parametrize(("degrees_c", "verdict"), [(None, "ok"), (60, "ok"), (76, "warn")])
def test_heat_is_a_warning_before_the_firmware_acts(degrees_c: float | None, verdict: str) -> None:
    assert checks.temperature(degrees_c).verdict == verdict


@pytest.mark.parametrize(
    ("bits", "verdict", "found"),
    [
        ("0x0", "ok", "none since the boot"),
        ("0x50000", "warn", "since the boot: under voltage, throttled"),
        ("0x4", "warn", "now: throttled"),
        ("0x50005", "fail", "now: under voltage, throttled"),
    ],
)
def test_what_the_firmware_complains_about_is_reported(bits: str, verdict: str, found: str) -> None:
    check = checks.throttling(parse_throttled(bits))
    assert (check.verdict, check.found) == (verdict, found)
    assert bool(check.advice) == (verdict != "ok")


@pytest.mark.parametrize(
    ("cgroup", "verdict"),
    [
        (CgroupMemory(False, None), "warn"),
        (CgroupMemory(True, None), "ok"),
        (CgroupMemory(True, 160), "ok"),
        (CgroupMemory(True, 100), "fail"),
    ],
)
def test_a_kernel_limit_that_is_off_or_below_the_budget_is_reported(
    cgroup: CgroupMemory, verdict: str
) -> None:
    assert checks.kernel_limit(cgroup, budget_mb=128).verdict == verdict


def test_a_budget_larger_than_the_available_memory_is_a_warning() -> None:
    config = MemoryConfig(budget_mb=128)
    assert checks.memory(config, 100).verdict == "warn"
    assert checks.memory(config, 300).verdict == "ok"
    assert checks.memory(config, None).verdict == "ok"


@pytest.mark.parametrize(("free_mb", "verdict"), [(10, "fail"), (100, "warn"), (1000, "ok")])
def test_a_disk_that_fills_up_is_reported(tmp_path: Path, free_mb: int, verdict: str) -> None:
    asked: list[Path] = []

    def free_bytes(path: Path) -> int:
        asked.append(path)
        return free_mb << 20

    assert checks.disk(tmp_path / "not" / "yet" / "made", free_bytes).verdict == verdict
    assert asked == [tmp_path]


def test_an_unset_clock_is_reported(tmp_path: Path) -> None:
    clock = SystemClock(mark=tmp_path / "never", kernel=lambda: False)
    assert "timesyncd" in checks.time_of_day(clock).advice


def test_this_machine_can_be_examined(tmp_path: Path) -> None:
    found = checks.all_checks(Board(), _HOST, MemoryConfig(), tmp_path, SystemClock())
    assert [check.name for check in found] == [
        "cpu",
        "native engine",
        "xnnpack engine",
        "torch",
        "temperature",
        "throttling",
        "kernel limit",
        "memory",
        "disk",
        "lasting storage",
        "clock",
    ]
    assert all(check.found for check in found)
    assert all(check.advice for check in found if check.verdict != "ok")


def test_findings_are_shown_with_their_advice() -> None:
    shown = text([Check("cpu", "ok", "Cortex-A76"), Check("disk", "fail", "full", "free some space")])
    assert shown == "ok    cpu: Cortex-A76\nfail  disk: full\n      -> free some space"


def test_an_overlay_file_system_that_forgets_is_found_with_what_it_costs(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(
        "30 1 0:30 / / rw - overlay overlayroot rw,lowerdir=/l,upperdir=/u\n"
    )
    (tmp_path / "cmdline").write_text("console=tty1 boot=overlay\n")
    check = checks.lasting(Path("/var/lib/edge-agent"), tmp_path)
    assert check.verdict == "warn"
    assert "disable_overlayfs" in check.found
    assert "gone with the next boot" in check.advice
