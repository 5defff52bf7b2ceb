"""Trimming: which mappings may be dropped, and that it really gives memory back in a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from edge_agent.memory.procfs import Mapping, MemoryUse
from edge_agent.memory.trim import SystemLibc, Trimmer, droppable, tune_allocator
from tests.memory.libc import FakeLibc

_CODE = Mapping(0x1000, 0x9000, "r-xp", 77, "/usr/lib/libx.so", device="fe:00", private_kb=0)
_HAS_GLIBC = SystemLibc().malloc_trim() is not None
needs_glibc = pytest.mark.skipif(not _HAS_GLIBC, reason="this C library has no malloc_trim")


def test_untouched_code_and_constants_of_a_library_are_droppable() -> None:
    constants = replace(_CODE, start=0x9000, end=0xA000, permissions="r--p")
    assert droppable([_CODE, constants]) == (_CODE, constants)


@pytest.mark.parametrize(
    "mapping",
    [
        replace(_CODE, permissions="rw-p"),
        replace(_CODE, permissions="rwxp"),
        replace(_CODE, permissions="r--s"),
        replace(_CODE, inode=0),  # code made at run time, or the vdso
        replace(_CODE, private_kb=4),  # code that was written to when it was loaded
        replace(_CODE, permissions="r--p", private_kb=4),  # relocated data
        replace(_CODE, private_kb=None),  # not known
        replace(_CODE, permissions="r--p", inode=78),  # a file without code: it may be unmapped at any time
        replace(_CODE, permissions="r--p", device="fe:01"),  # the same number on another disk
    ],
)
def test_what_could_not_be_read_again_from_its_file_is_not_dropped(mapping: Mapping) -> None:
    assert mapping not in droppable([_CODE, mapping])


def test_a_trim_drops_only_what_may_be_dropped_and_reports_what_was_measured() -> None:
    libc = FakeLibc()
    figures = iter([MemoryUse(100, 60, 40, 120), MemoryUse(80, 55, 25, 120)])
    mappings = (_CODE, replace(_CODE, start=0x20000, end=0x30000, permissions="r--p", private_kb=8))
    result = Trimmer(libc, lambda: mappings, lambda: next(figures)).trim()
    assert libc.dropped == [(0x1000, 0x8000)]
    assert (result.before_mb, result.after_mb, result.note) == (100, 80, "")


def test_without_glibc_nothing_is_done_and_it_says_so() -> None:
    libc = FakeLibc(is_glibc=False)
    result = Trimmer(libc, lambda: (_CODE,), lambda: MemoryUse(100, 60, 40, 120)).trim()
    assert libc.dropped == []
    assert result.before_mb == result.after_mb
    assert result.note == "not glibc: its allocator has no malloc_trim"
    tune_allocator(libc, "xnnpack")


@pytest.mark.parametrize("engine", ["", "torchscript"])
def test_thresholds_are_left_to_the_allocator_but_with_the_lean_engine(engine: str) -> None:
    libc = FakeLibc()
    tune_allocator(libc, engine)
    assert list(libc.options.values()) == [2]
    tune_allocator(libc, "xnnpack")
    assert sorted(libc.options.values()) == [2, 256 * 1024, 256 * 1024]


@needs_glibc
@pytest.mark.parametrize(("engine", "faults_each_time"), [("xnnpack", True), ("torchscript", False)])
def test_a_block_that_comes_and_goes_costs_page_faults_with_the_lean_engine_alone(
    engine: str, faults_each_time: bool
) -> None:
    report = _run(
        f"""
        import resource
        from edge_agent.memory.trim import SystemLibc, tune_allocator
        tune_allocator(SystemLibc(), "{engine}")
        def faults(times):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(times): bytearray(300 << 10)
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        faults(20)
        print(json.dumps({{"faults": faults(100)}}))
        """
    )
    assert (report["faults"] > 1000) == faults_each_time


@needs_glibc
def test_trimming_gives_back_a_heap_that_was_filled_and_freed() -> None:
    report = _run(
        """
        blocks = [bytearray(1000) for _ in range(60_000)]
        keep = blocks[::1000]
        full = read_memory().rss_mb
        del blocks
        before = read_memory().rss_mb
        result = Trimmer().trim()
        after = read_memory().rss_mb
        freed = result.before_mb - result.after_mb
        print(json.dumps({"full": full, "before": before, "after": after, "reported": freed}))
        """
    )
    assert report["full"] > 60
    assert report["after"] < report["before"] - 20
    assert report["reported"] > 20


@needs_glibc
def test_a_process_lives_on_after_its_code_was_dropped() -> None:
    report = _run(
        """
        import decimal, sqlite3, ssl, numpy
        before = read_memory().file_mb
        Trimmer().trim()
        after = read_memory().file_mb
        numpy.linalg.inv(numpy.eye(50)); decimal.Decimal(2).sqrt(); ssl.create_default_context()
        print(json.dumps({"before": before, "after": after}))
        """
    )
    assert report["after"] < report["before"] - 5


@needs_glibc
def test_relocated_data_is_never_dropped_from_a_real_process() -> None:
    report = _run(
        """
        import ssl, numpy
        from edge_agent.memory.trim import droppable
        mappings = read_smaps()
        relocated = [m for m in mappings if m.permissions == "r--p" and m.inode and m.private_kb]
        chosen = droppable(mappings)
        print(json.dumps({"relocated": len(relocated), "dropped": sum(m in chosen for m in relocated)}))
        """
    )
    assert report["relocated"] > 3
    assert report["dropped"] == 0


@needs_glibc
def test_arenas_stay_few_when_many_threads_allocate() -> None:
    code = """
        import threading
        from edge_agent.memory.trim import tune_allocator, SystemLibc
        if {tuned}: tune_allocator(SystemLibc())
        def work(gate):
            kept = [bytearray(600) for _ in range(20_000)]; gate.wait()
        gate = threading.Barrier(9)
        threads = [threading.Thread(target=work, args=(gate,)) for _ in range(8)]
        [t.start() for t in threads]; gate.wait(); [t.join() for t in threads]
        arenas = sum(m.length == 64 << 20 or m.start % (64 << 20) == 0 for m in read_smaps() if not m.inode)
        print(json.dumps({{"arenas": arenas}}))
        """
    tuned = _run(code.format(tuned=True))["arenas"]
    untuned = _run(code.format(tuned=False))["arenas"]
    assert tuned < untuned


def _run(code: str) -> dict[str, Any]:
    """What a fresh process prints as JSON; figures of this one would depend on the tests before."""
    lines = [line.removeprefix("        ") for line in code.splitlines()]
    head = "import json\nfrom edge_agent.memory.procfs import read_memory, read_smaps\n"
    head += "from edge_agent.memory.trim import Trimmer\n"
    done = subprocess.run(
        [sys.executable, "-c", head + "\n".join(lines)], check=True, capture_output=True, text=True
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report
