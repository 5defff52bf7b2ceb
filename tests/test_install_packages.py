"""What install.sh asks of Debian: the right architecture, room, a disk, apt's locks and its package lists."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.model.sidecar import Artifact
from tests.installing import CHECKOUT, Board

_NO_KEY = (
    "E: The repository 'http://vendor.example/debian bookworm InRelease' is not signed.\n"
    "W: GPG error: http://vendor.example/debian bookworm InRelease: NO_PUBKEY 0123456789ABCDEF\n"
)
_LAGGING = (
    "E: Release file for http://mirror.example/debian/dists/bookworm/InRelease is not valid yet"
    " (invalid for another 3h 2min 1s). Updates for this repository will not be applied.\n"
)


@pytest.fixture
def board(tmp_path: Path, lite0: Artifact) -> Board:
    return Board.make(tmp_path / "board", lite0.directory)


def apt(board: Board, update: str = "", *, can_install: bool = True) -> str:
    """A board that lacks a package: what apt-get says to `update`, and whether it can install."""
    (board.stand_ins / "update").write_text(update)
    return f"""
missing_packages() {{ echo libxnnpack0; }}
apt-get() {{
    echo "$*" >>{board.stand_ins}/apt.log
    case " $* " in
    *" update "*) cat {board.stand_ins}/update >&2; [[ ! -s {board.stand_ins}/update ]] || return 100 ;;
    *) {"true" if can_install else "return 100"} ;;
    esac
}}
"""


def asked(board: Board) -> str:
    return (board.stand_ins / "apt.log").read_text()


def untouched(board: Board) -> bool:
    return not list(board.root.iterdir())


def test_a_32_bit_system_on_a_64_bit_kernel_is_refused_before_anything_is_changed(board: Board) -> None:
    done = board.install(changes="dpkg() { echo armhf; }; uname() { echo aarch64; }")
    assert done.returncode == 1
    assert "this is a 32-bit system (armhf, on a kernel for aarch64)" in done.stdout
    assert [path.name for path in board.root.iterdir() if path.name != "edge-agent-install.lock"] == []


def test_what_is_missing_is_installed_with_a_wait_for_dpkgs_lock(board: Board) -> None:
    assert board.install(changes=apt(board)).returncode == 0
    assert "DPkg::Lock::Timeout=300" in asked(board)
    assert "install --yes --no-install-recommends libxnnpack0" in asked(board)


@pytest.mark.parametrize("complaint", [_NO_KEY, _LAGGING], ids=["no key", "clock"])
def test_a_package_list_that_cannot_be_updated_does_not_matter_where_the_package_is_to_be_had(
    board: Board, complaint: str
) -> None:
    done = board.install(changes=apt(board, complaint))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("complaint", "said"),
    [
        (_NO_KEY, "http://vendor.example/debian bookworm InRelease' is not signed"),
        (_LAGGING, "the clock of this"),
    ],
    ids=["no key", "clock"],
)
def test_where_the_package_is_not_to_be_had_the_cause_is_named(
    board: Board, complaint: str, said: str
) -> None:
    done = board.install(changes=apt(board, complaint, can_install=False))
    assert done.returncode == 1
    assert said in done.stdout


class LockHolder:
    """A process that holds dpkg's lock below a root, as unattended-upgrades does."""

    def __init__(self, root: Path) -> None:
        self._path = root / "var/lib/dpkg/lock-frontend"
        self._path.parent.mkdir(parents=True)
        program = (
            "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX);"
            "print('held', flush=True); sys.stdin.read()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, self._path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "held\n"

    @property
    def pid(self) -> int:
        return self._process.pid

    def release(self) -> None:
        self._process.communicate()


def test_it_waits_for_who_holds_the_lock_and_says_for_whom(board: Board) -> None:
    holder = LockHolder(board.root)
    with board.start(changes=apt(board)) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "waiting up to 300 s" in line:
                assert f"(process {holder.pid})" in line
                assert not (board.stand_ins / "apt.log").exists()
                holder.release()
                break
        running.stdout.read()
    assert running.returncode == 0
    assert "libxnnpack0" in asked(board)


def test_it_does_not_wait_for_ever(board: Board) -> None:
    holder = LockHolder(board.root)
    done = board.install(changes=f"apt_wait_s=1; {apt(board)}")
    holder.release()
    assert done.returncode == 1
    assert f"(process {holder.pid}) has kept apt's lock" in done.stdout


# --- room ---------------------------------------------------------------------------------------------------

with_mounts = pytest.mark.skipif(
    subprocess.run(
        ["unshare", "--map-root-user", "--mount", "true"], capture_output=True, check=False
    ).returncode != 0
    if shutil.which("unshare")
    else True,
    reason="this user may not mount anything, not even in a namespace of their own",
)  # fmt: skip


def in_own_mounts(script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script with mounts that nobody else sees."""
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-euc", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": "/dev/full"},
    )


@with_mounts
@pytest.mark.parametrize("place", ["etc", "var/lib", "opt"])
def test_room_is_looked_for_where_each_thing_goes(tmp_path: Path, lite0: Artifact, place: str) -> None:
    small = tmp_path / "root" / place
    small.mkdir(parents=True)
    done = in_own_mounts(
        f"mount -t tmpfs -o size=512k tmpfs {small};"
        f" '{CHECKOUT}/install.sh' --root {tmp_path}/root --lean {lite0.directory}; ls -A {small}"
    )
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert f"{small} has 0 MB free" in done.stderr or f"{small} has 1 MB free" in done.stderr
    assert list(small.iterdir()) == []


@with_mounts
def test_a_file_that_does_not_fit_leaves_what_was_there(tmp_path: Path) -> None:
    done = in_own_mounts(
        f"mount -t tmpfs -o size=8k tmpfs {tmp_path}; cd {tmp_path}; echo old >file;"
        f" export EDGE_AGENT_INSTALL=clean; source '{CHECKOUT}/install.sh'; packaging=1; trap - EXIT; set +e;"
        f" (set -e; put 644 root:root '{CHECKOUT}/install.sh' {tmp_path}/file); echo status $?; cat file"
    )
    assert done.stdout == "status 1\nold\n", done.stderr


@with_mounts
def test_a_directory_in_memory_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    done = in_own_mounts(
        f"mount -t tmpfs tmpfs {tmp_path}/opt; export EDGE_AGENT_INSTALL=clean;"
        f" source '{CHECKOUT}/install.sh'; root={tmp_path}; set_paths;"
        f" check_memory_is_not_the_disk; printf '%s\\n' \"${{problems[@]}}\""
    )
    assert f"nothing that is installed would outlive a reboot: {tmp_path}/opt lies in memory" in done.stdout


def test_two_installations_do_not_meet(board: Board) -> None:
    with (board.root / "edge-agent-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = board.install()
    assert "another install.sh is running" in done.stdout


_BORROWING = """
has_compiler() {{ [[ -f {board}/compiler ]]; }}
df() {{ printf 'Avail\\n%s\\n' "${{room_mb:-9000}}M"; }}
apt-get() {{
    echo "$*" >>{board}/apt.log
    case " $* " in
    *" --simulate "*) printf 'Inst %s (2 Debian [amd64])\\n' gcc libc6-dev 'libc6 [1]' ;;
    *" purge "*) rm -f {board}/compiler ;;
    *" install "*) touch {board}/compiler ;;
    esac
}}
eval "stub_$(declare -f fill_release)"
fill_release() {{ borrow_compiler; {meanwhile}; stub_fill_release; return_compiler; }}
"""


def borrowing(board: Board, meanwhile: str = ":") -> str:
    """A board without a compiler; what happens while it has one."""
    return _BORROWING.format(board=board.stand_ins, meanwhile=meanwhile)


def test_a_compiler_that_was_not_there_is_gone_again_after_the_build(board: Board) -> None:
    done = board.install(changes=borrowing(board, f"[[ -f {board.stand_ins}/compiler ]] || exit 9"))
    assert done.returncode == 0, done.stdout
    assert "install --yes --no-install-recommends gcc libc6-dev\n" in asked(board)
    assert "purge --yes gcc libc6-dev\n" in asked(board)
    assert not (board.stand_ins / "compiler").exists()


def test_a_compiler_is_gone_again_when_the_build_fails(board: Board) -> None:
    done = board.install(changes=borrowing(board, "die 'the build has failed'"))
    assert done.returncode == 1
    assert not (board.stand_ins / "compiler").exists()


def test_a_compiler_that_a_cut_run_has_left_is_removed_by_the_next_one(board: Board) -> None:
    (board.root / "opt/edge-agent").mkdir(parents=True)
    (board.root / "opt/edge-agent/compiler").write_text("gcc\nlibc6-dev\n")
    (board.stand_ins / "compiler").touch()
    assert board.install(changes=borrowing(board)).returncode == 0
    assert "purge --yes gcc libc6-dev\n" in asked(board)


def test_the_owners_own_compiler_stays(board: Board) -> None:
    (board.stand_ins / "compiler").touch()
    assert board.install(changes=borrowing(board)).returncode == 0
    assert not (board.stand_ins / "apt.log").exists()
    assert (board.stand_ins / "compiler").exists()


def test_without_room_for_a_compiler_the_native_engine_is_left_out_and_it_is_said(board: Board) -> None:
    done = board.install(changes="room_mb=90\ncheck_space() { :; }\n" + borrowing(board))
    assert done.returncode == 0
    assert "/usr has 90 MB free, too little for a C compiler: the native engine is left out" in done.stdout


# --- which packages -----------------------------------------------------------------------------------------


def needs_xnnpack(board: Board, changes: str = "", config: str = "") -> bool:
    """Whether install.sh would want XNNPACK, before it has made anything."""
    script = (
        f'export EDGE_AGENT_INSTALL=clean; source "{CHECKOUT}/install.sh"; root="{board.root}"; set_paths;'
        f"{changes} needs_xnnpack && echo needed"
    )
    (board.root / "etc/edge-agent").mkdir(parents=True, exist_ok=True)
    (board.root / "etc/edge-agent/edge-agent.yaml").write_text(config)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout == "needed\n"


@pytest.mark.parametrize(
    "changes",
    [
        "has_compiler() { true; };",
        "has_compiler() { false; }; wheel=/root/edge_agent-0.1.0-py3-none-linux_aarch64.whl;",
    ],
    ids=["a compiler", "a compiled wheel"],
)
def test_where_the_kernels_will_be_there_xnnpack_is_not_installed(board: Board, changes: str) -> None:
    assert not needs_xnnpack(board, changes)
    assert not needs_xnnpack(board, changes, "model:\n  engine: auto  # not xnnpack\n")
    assert needs_xnnpack(board, changes, "model:\n  engine: xnnpack\n")


@pytest.mark.parametrize(
    "changes",
    ["has_compiler() { false; };", "has_compiler() { true; }; wheel=edge_agent-0.1.0-py3-none-any.whl;"],
    ids=["no compiler", "a wheel without kernels"],
)
def test_without_kernels_xnnpack_is_needed(board: Board, changes: str) -> None:
    assert needs_xnnpack(board, changes)


_COMPILING_FAILS = """
has_compiler() {{ true; }}
missing_packages() {{ if needs_xnnpack; then echo libxnnpack0; fi; }}
apt-get() {{ echo "$*" >>{board}/apt.log; }}
"""


def test_where_compiling_fails_xnnpack_is_installed_after_all(board: Board) -> None:
    done = board.install(changes=_COMPILING_FAILS.format(board=board.stand_ins))
    assert done.returncode == 0, done.stdout
    assert "install --yes --no-install-recommends libxnnpack0" in asked(board)


def test_where_the_kernels_are_there_apt_is_asked_once(board: Board) -> None:
    done = board.install(changes=apt(board) + "needs_xnnpack() { false; }\n")
    assert done.returncode == 0, done.stdout
    assert asked(board).count("install --yes") == 1


def test_where_compiling_fails_without_a_network_it_is_said_before_anything_is_changed(
    board: Board, tmp_path: Path
) -> None:
    changes = _COMPILING_FAILS.format(board=board.stand_ins) + "check_wheelhouse() { :; }\n"
    done = board.install("--offline", str(tmp_path), changes=changes)
    assert done.returncode == 1
    assert f"libxnnpack0 is needed, and no .deb of it is in {tmp_path}" in done.stdout
    assert not (board.stand_ins / "apt.log").exists()
    assert not (board.root / "opt/edge-agent/current").exists()


@pytest.mark.parametrize(
    "name", ["edge_agent-9.9.9-py3-none-any.whl", "edge_agent-0.1.0-py3-none-linux_riscv64.whl"]
)
def test_a_wheel_of_another_version_or_machine_is_refused(board: Board, tmp_path: Path, name: str) -> None:
    wheel = tmp_path / name
    wheel.touch()
    done = board.install("--wheel", str(wheel))
    assert done.returncode == 1
    assert "make it with `make wheels`" in done.stdout


def test_a_wheel_that_is_not_there_is_named(board: Board, tmp_path: Path) -> None:
    done = board.install("--wheel", str(tmp_path / "none.whl"))
    assert done.returncode == 1
    assert "none.whl: no such file" in done.stdout
