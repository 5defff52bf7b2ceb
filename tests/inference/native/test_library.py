"""Finding the compiled kernels: what is missing, foreign or too much for this CPU is named."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.errors import EngineError
from edge_agent.inference.native import library
from edge_agent.inference.native.library import ABI, VARIANTS, CStep, Variant, open_library
from native.build import find_compiler, is_current
from tests.installed import needs_native

HERE = [
    variant for variant in VARIANTS if variant.machine == platform.machine() and variant.arithmetic == "fp32"
]
pytestmark = pytest.mark.skipif(not HERE, reason="there are no kernels for this machine")
COMPILER = find_compiler(platform.machine()) or ""
needs_compiler = pytest.mark.skipif(not COMPILER, reason="there is no C compiler")

Compile = Callable[[Variant, str], None]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory in which kernels are looked for instead of the package's own."""
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    return tmp_path


@pytest.fixture
def compiled(installed: Path) -> Compile:
    """Puts a library there, made of a few lines of C."""

    def compile_(variant: Variant, source: str) -> None:
        command = [COMPILER, "-shared", "-fPIC", "-x", "c", "-", "-o", str(installed / variant.file_name)]
        subprocess.run(command, input=source, text=True, check=True)

    return compile_


def kernels(abi: int = ABI, step_bytes: int = ctypes.sizeof(CStep), runs: bool = True, lanes: int = 8) -> str:
    """The source of a library that answers the questions that are asked before anything is run."""
    return f"""
    int native_abi(void) {{ return {abi}; }}
    unsigned long native_step_bytes(void) {{ return {step_bytes}; }}
    int native_lanes(void) {{ return {lanes}; }}
    int native_can_run(void) {{ return {int(runs)}; }}
    void native_run(void) {{}}
    """


@pytest.mark.usefixtures("installed")
def test_without_kernels_it_is_said_how_to_get_some() -> None:
    with pytest.raises(EngineError, match="none was compiled: install edge-agent where there is a C comp"):
        open_library()


def test_an_unknown_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(EngineError, match="there are none for riscv64"):
        open_library()


def test_kernels_in_fp16_arithmetic_are_for_arm_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(EngineError, match="there are none for x86_64 in FP16 arithmetic"):
        open_library(arithmetic="fp16")


def test_what_is_no_library_is_named_with_its_path(installed: Path) -> None:
    (installed / HERE[-1].file_name).write_text("not a library")
    with pytest.raises(EngineError, match=rf"{installed}/{HERE[-1].file_name} cannot be loaded"):
        open_library()


@needs_native
def test_kernels_of_another_machine_are_not_loaded(installed: Path) -> None:
    own = Path(open_library.__code__.co_filename).parent / HERE[-1].file_name
    contents = bytearray(own.read_bytes())
    contents[18] = {"x86_64": 183, "aarch64": 62}[platform.machine()]  # e_machine of an ELF file
    (installed / own.name).write_bytes(contents)
    with pytest.raises(EngineError, match="cannot be loaded"):
        open_library()


@needs_compiler
@pytest.mark.parametrize(
    "source", [kernels(abi=ABI + 1), kernels(step_bytes=8), "int native_abi(void) { return 1; }"]
)
def test_kernels_of_another_version_are_to_be_installed_again(compiled: Compile, source: str) -> None:
    compiled(HERE[0], source)
    with pytest.raises(
        EngineError, match=f"{HERE[0].file_name} belongs to another version.*install it again"
    ):
        open_library()


@needs_compiler
def test_a_cpu_without_the_instructions_is_told_what_it_lacks(compiled: Compile) -> None:
    compiled(HERE[0], kernels(runs=False))
    with pytest.raises(EngineError, match=f"this CPU has not what {HERE[0].title} needs"):
        open_library()


@needs_compiler
@pytest.mark.skipif(len(HERE) < 2, reason="this machine has one kind of kernels")
def test_the_fastest_that_this_cpu_can_run_are_taken(compiled: Compile) -> None:
    for place, variant in enumerate(HERE):
        compiled(variant, kernels(runs=place > 0, lanes=place + 1))
    assert open_library().lanes == 2
    assert open_library(HERE[-1].name).lanes == len(HERE)
    with pytest.raises(EngineError, match="this CPU has not"):
        open_library(HERE[0].name)


def test_a_library_is_compiled_again_only_where_the_sources_are_newer(tmp_path: Path) -> None:
    library = tmp_path / "kernels-x86-sse2.so"
    assert not is_current(library)
    library.touch()
    assert is_current(library)
    os.utime(library, (0, 0))
    assert not is_current(library)
