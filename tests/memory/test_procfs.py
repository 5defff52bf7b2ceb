"""Reading memory figures: of made-up texts, and of real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import EdgeAgentError
from edge_agent.memory import procfs

_STATUS = """Name:\tpython3
Pid:\t100
PPid:\t1
VmPeak:\t  400000 kB
VmHWM:\t  204800 kB
VmRSS:\t  102400 kB
RssAnon:\t   81920 kB
RssFile:\t   20480 kB
RssShmem:\t       0 kB
"""

_SMAPS = """55d0c8a00000-55d0c8a01000 r--p 00000000 fe:00 123   /usr/bin/my program
Rss:                   4 kB
Anonymous:             4 kB
Swap:                  8 kB
SwapPss:               1 kB
7f0000000000-7f0000200000 r-xp 00001000 fe:00 456   /usr/lib/libx.so
Anonymous:             0 kB
VmFlags: rd ex mr mw me
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0     [stack]
Anonymous:            32 kB
7f1000000000-7f1000001000 rw-p 00000000 00:00 0
"""

_NO_MEMORY = "Name:\tkthreadd\nPid:\t2\nPPid:\t0\n"


def test_the_figures_of_a_status_file_are_mib() -> None:
    use = procfs.parse_status(_STATUS)
    assert use == procfs.MemoryUse(rss_mb=100, anon_mb=80, file_mb=20, peak_mb=200)


def test_a_process_without_memory_counts_zero() -> None:
    assert procfs.parse_status(_NO_MEMORY) == procfs.MemoryUse(0, 0, 0, 0)


def test_smaps_gives_each_mapping_its_written_pages_swapped_out_ones_too() -> None:
    program, library, stack, plain = procfs.parse_smaps(_SMAPS.splitlines(keepends=True))
    assert (program.path, program.private_kb, program.inode) == ("/usr/bin/my program", 12, 123)
    assert (library.permissions, library.private_kb, library.length) == ("r-xp", 0, 0x200000)
    assert library.device == "fe:00"
    assert (stack.path, stack.private_kb) == ("[stack]", 32)
    assert (plain.path, plain.private_kb) == ("", None)


@given(st.text())
def test_any_text_is_parsed_or_passed_over(text: str) -> None:
    use = procfs.parse_status(text)
    assert use.rss_mb >= 0
    assert all(pid >= 0 for pid in procfs.parse_children(text))
    assert procfs.parse_parent(text) >= 0
    assert all(mapping.length > 0 for mapping in procfs.parse_smaps(text.splitlines(keepends=True)))


@given(
    st.lists(
        st.sampled_from([*_STATUS.splitlines(), *_SMAPS.splitlines(), "VmRSS: many kB", "Anonymous:", ""])
    )
)
def test_lines_in_any_order_and_number_are_parsed(lines: list[str]) -> None:
    text = "\n".join(lines)
    procfs.parse_status(text)
    mappings = procfs.parse_smaps(text.splitlines(keepends=True))
    assert len(mappings) == sum("-" in line and "kB" not in line and "Vm" not in line for line in lines)


def test_this_process_is_measured() -> None:
    use = procfs.read_memory()
    assert 5 < use.rss_mb <= use.peak_mb
    assert use.anon_mb + use.file_mb <= use.rss_mb + 1


def test_a_process_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProcessLookupError, match="no process 4242"):
        procfs.read_memory(4242, proc=tmp_path)


def test_without_proc_the_error_says_what_to_mount(tmp_path: Path) -> None:
    with pytest.raises(EdgeAgentError, match=f"mount {tmp_path}"):
        procfs.read_memory(proc=tmp_path)


def test_children_and_their_children_count() -> None:
    alone = procfs.read_memory()
    with _family_of_two() as child:
        together = procfs.read_memory()
        family = procfs.read_memory(child)
        parent = procfs.parse_status(Path(f"/proc/{child}/status").read_text())
    assert family.rss_mb > parent.rss_mb
    assert together.rss_mb == pytest.approx(alone.rss_mb + family.rss_mb, abs=2)


def test_children_are_found_by_their_parent_where_the_kernel_does_not_list_them(tmp_path: Path) -> None:
    _fake_process(tmp_path, 100, parent=1, rss_kb=10240)
    _fake_process(tmp_path, 200, parent=100, rss_kb=20480)
    _fake_process(tmp_path, 300, parent=200, rss_kb=40960)
    _fake_process(tmp_path, 400, parent=1, rss_kb=81920)
    assert procfs.read_memory(100, proc=tmp_path).rss_mb == 70


def test_a_child_that_ends_while_it_is_counted_is_left_out(tmp_path: Path) -> None:
    _fake_process(tmp_path, 100, parent=1, rss_kb=10240)
    thread = tmp_path / "100" / "task" / "100"
    thread.mkdir(parents=True)
    (thread / "children").write_text("200 ")
    assert procfs.read_memory(100, proc=tmp_path).rss_mb == 10


@contextmanager
def _family_of_two() -> Iterator[int]:
    """A child that has started a child of its own."""
    code = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print('up', flush=True);"
        " sys.stdin.read(); p.kill(); p.wait()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        yield child.pid
    finally:
        child.communicate()


def _fake_process(proc: Path, pid: int, *, parent: int, rss_kb: int) -> None:
    directory = proc / str(pid)
    directory.mkdir()
    (directory / "status").write_text(f"Pid:\t{pid}\nPPid:\t{parent}\nVmRSS:\t{rss_kb} kB\n")
