"""The plug-ins of qemu count exactly what small programs in assembly do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.arm.counted import compile_plugin, read_counts

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("gcc", "aarch64-linux-gnu-gcc", "qemu-aarch64"))),
    reason="gcc, gcc-aarch64-linux-gnu or qemu-user is not installed",
)

_EXIT = "mov x0, #0; mov x8, #93; svc #0"
_ONE_OF_EACH = f"""
    mov x9, #1000
1:  fmla v0.4s, v1.4s, v2.4s
    fmls v0.4s, v1.4s, v2.s[3]
    fmul v3.4s, v1.4s, v2.s[0]
    fmla v0.2d, v1.2d, v2.2d
    ldr q4, [sp]
    ldp q4, q5, [sp]
    ld1 {{v4.4h}}, [sp]
    str q4, [sp, #-16]
    stp x1, x2, [sp, #-16]
    prfm pldl1keep, [sp]
    subs x9, x9, #1
    b.ne 1b
    {_EXIT}
"""
_LINES = 1 << 14
"""In the megabyte that the programs walk through."""


def walk(instruction: str, times: int) -> str:
    """A program that does something with each 16 bytes of a megabyte."""
    return f"""
        mov x10, #{times}
    1:  ldr x1, =block
        mov x9, #{_LINES * 4}
    2:  {instruction} q0, [x1], #16
        subs x9, x9, #1
        b.ne 2b
        subs x10, x10, #1
        b.ne 1b
        {_EXIT}
        .ltorg
        .bss
        .balign 65536
        block: .space 1 << 20
    """


def run(directory: Path, plugin: str, program: str, *options: str) -> subprocess.CompletedProcess[str]:
    source, binary = directory / "program.S", directory / "program"
    source.write_text(f".text\n.global _start\n_start:\n{program}\n")
    subprocess.run(["aarch64-linux-gnu-gcc", "-nostdlib", "-static", source, "-o", binary], check=True)
    given = ",".join((str(compile_plugin(plugin, directory)), *options))
    command = ["qemu-aarch64", "-plugin", given, str(binary)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unknown option" in done.stderr:
        pytest.skip("this qemu takes no plug-ins")
    return done


def counts_of(directory: Path, plugin: str, program: str, *options: str) -> dict[str, int]:
    out = directory / "counts"
    done = run(directory, plugin, program, f"out={out}", *options)
    assert done.returncode == 0, done.stderr
    return read_counts(out)


def test_each_instruction_is_counted_under_its_kind(tmp_path: Path) -> None:
    assert counts_of(tmp_path, "instructions", _ONE_OF_EACH) == {
        "fma": 2000,
        "other_simd": 2000,
        "simd_loads": 3000,
        "simd_stores": 1000,
        "other_loads_and_stores": 2000,
        "rest": 2004,
    }


def test_what_stays_in_the_cache_is_read_once(tmp_path: Path) -> None:
    counts = counts_of(tmp_path, "traffic", walk("ldr", times=3), "l2=2048")
    assert counts["lines_read"] == pytest.approx(_LINES, abs=2)
    assert counts["l1_misses"] == pytest.approx(3 * _LINES, abs=4)
    assert counts["lines_written"] == 0


def test_what_has_no_room_in_the_cache_is_read_again(tmp_path: Path) -> None:
    counts = counts_of(tmp_path, "traffic", walk("ldr", times=3), "l2=512")
    assert counts["lines_read"] == pytest.approx(3 * _LINES, abs=8)


def test_lines_are_written_when_they_leave_the_cache(tmp_path: Path) -> None:
    counts = counts_of(tmp_path, "traffic", walk("str", times=1), "l2=64")
    assert counts["lines_read"] == pytest.approx(_LINES, abs=2)
    assert counts["lines_written"] == pytest.approx(_LINES - 1024, abs=2)


def test_a_plug_in_says_what_it_needs(tmp_path: Path) -> None:
    done = run(tmp_path, "traffic", _EXIT, f"out={tmp_path / 'counts'}")
    assert done.returncode != 0
    assert "needs l2=KB" in done.stderr
