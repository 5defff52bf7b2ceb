"""A virtual Raspberry Pi: Debian for arm64 under QEMU, reached over ssh on the loopback interface.

The image is built once (`build-image`) and kept in the cache. The first start with a CPU model boots it and
takes a snapshot of the running machine; every later start is a copy of that snapshot, so that each run
begins with the same clean board within seconds. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
CPUS = {"cortex-a72": "Raspberry Pi 4", "cortex-a76": "Raspberry Pi 5"}
SUITES = ("trixie", "bookworm")
BOOT_TIMEOUT_S = 1200
_SNAPSHOT = "booted"
_HOST_ADDRESS = "10.0.2.2"  # this machine's loopback interface, as QEMU's user-mode network shows it


class BoardError(Exception):
    """The virtual board cannot be built, started or reached."""


def cache_dir() -> Path:
    """Where images, snapshots and wheels are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edge-agent" / "board"


def image_dir(suite: str) -> Path:
    """The directory of the image that the present `build-image` makes; another recipe is another image."""
    recipe = hashlib.sha256((HERE / "build-image").read_bytes()).hexdigest()[:12]
    return cache_dir() / f"image-{suite}-{recipe}"


def build_image(suite: str) -> Path:
    """Build the image unless it is in the cache; returns its directory."""
    directory = image_dir(suite)
    if not (directory / "root.qcow2").is_file():
        subprocess.run(["nice", "-n", "19", HERE / "build-image", suite, directory], check=True)
    return directory


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Board:
    """One virtual board; its state is in files, so that each command of the shell can be its own process."""

    def __init__(self, cpu: str, suite: str = SUITES[0], *, counted: bool = False) -> None:
        """`counted`: its clock goes by instructions, 1 ns each, of both cores together."""
        if cpu not in CPUS:
            raise BoardError(f"unknown CPU {cpu!r}; there are {', '.join(CPUS)}")
        if suite not in SUITES:
            raise BoardError(f"unknown Debian {suite!r}; there are {', '.join(SUITES)}")
        self.cpu = cpu
        self.suite = suite
        self.image = image_dir(suite)
        self.counted = counted
        self._name = f"{cpu}-counted" if counted else cpu
        self.state = cache_dir() / f"running-{suite}-{self._name}"

    # --- life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a clean board and wait until it answers."""
        build_image(self.suite)
        if self.is_running():
            raise BoardError(f"the {self.cpu} board is running already; `tests/board/board stop` ends it")
        booted = self.image / f"{_SNAPSHOT}-{self._name}.qcow2"
        if not booted.is_file():
            self._make_snapshot(booted)
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(parents=True)
        # A plain copy: QEMU cannot continue from a snapshot that lies in a backing file.
        shutil.copyfile(booted, self.state / "disk.qcow2")
        self._launch("-loadvm", _SNAPSHOT)
        self.wait_until_reached()
        self.run(f"date --set=@{int(time.time())} >/dev/null")

    def stop(self) -> None:
        """End the emulator; what was on the board is gone, but for the log of its console."""
        pid = self._pid()
        if pid is None:
            return
        with contextlib.suppress(BoardError):
            self._monitor("quit")
        deadline = time.monotonic() + 10
        while self.is_running() and time.monotonic() < deadline:
            time.sleep(0.1)
        if self.is_running():
            os.kill(pid, signal.SIGKILL)
        (self.state / "disk.qcow2").unlink(missing_ok=True)

    def is_running(self) -> bool:
        """Whether the emulator lives."""
        return self._pid() is not None

    def reboot(self) -> None:
        """Reboot in good order, and wait until the board answers again."""
        before = self._boot_id()
        self.run("systemctl reboot", check=False)
        self._wait_for_another_boot(before)

    def cut_power(self) -> None:
        """Reset at once, as if the plug were pulled and put back; then wait until the board answers again."""
        before = self._boot_id()
        self._monitor("system_reset")
        self._wait_for_another_boot(before)

    def _make_snapshot(self, booted: Path) -> None:
        print(f"board: first boot of {self.suite} with {self.cpu} (minutes)", file=sys.stderr)
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(parents=True)
        disk = self.state / "disk.qcow2"
        shutil.copyfile(self.image / "root.qcow2", disk)
        self._launch()
        try:
            self.wait_until_reached()
            self.run("systemctl is-system-running --wait; sync", check=False, timeout_s=BOOT_TIMEOUT_S)
            self._disconnect()
            self._monitor("human-monitor-command", **{"command-line": f"savevm {_SNAPSHOT}"})
            self._monitor("quit")
            while self.is_running():
                time.sleep(0.1)
            disk.rename(booted)
        finally:
            self.stop()

    def _launch(self, *extra: str) -> None:
        port = free_port()
        (self.state / "port").write_text(str(port))
        command = [
            "nice", "-n", "19", "qemu-system-aarch64",
            "-M", "virt,gic-version=3", "-cpu", self.cpu, "-smp", "2", "-m", "2048",
            "-accel", f"tcg,thread={'single' if self.counted else 'multi'},tb-size=512",
            *(("-icount", "shift=0") if self.counted else ()),
            "-kernel", str(self.image / "vmlinuz"), "-initrd", str(self.image / "initrd.gz"),
            "-append", "root=/dev/vda rw console=ttyAMA0 quiet",
            "-drive", f"file={self.state / 'disk.qcow2'},format=qcow2,if=none,id=disk,cache=unsafe",
            "-device", "virtio-blk-pci,drive=disk",
            "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22",
            "-device", "virtio-net-pci,netdev=net,romfile=",
            "-object", "rng-random,filename=/dev/urandom,id=rng", "-device", "virtio-rng-pci,rng=rng",
            "-display", "none", "-monitor", "none", "-serial", f"file:{self.state / 'console.log'}",
            "-qmp", f"unix:{self.state / 'qmp'},server=on,wait=off",
            "-daemonize", "-pidfile", str(self.state / "pid"), *extra,
        ]  # fmt: skip
        started = subprocess.run(command, capture_output=True, text=True, check=False)
        if started.returncode:
            raise BoardError(f"QEMU did not start: {started.stderr.strip()}")

    def _pid(self) -> int | None:
        try:
            pid = int((self.state / "pid").read_text())
            name = Path(f"/proc/{pid}/comm").read_text()
        except (OSError, ValueError):
            return None
        return pid if name.startswith("qemu-system") else None

    def _monitor(self, execute: str, **arguments: str) -> None:
        """Carry out one command of QEMU's machine protocol."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(600)
                connection.connect(str(self.state / "qmp"))
                stream = connection.makefile("rw")
                stream.readline()  # the greeting
                for request in (
                    {"execute": "qmp_capabilities"},
                    {"execute": execute, "arguments": arguments},
                ):
                    stream.write(json.dumps(request) + "\n")
                    stream.flush()
                    _expect_return(stream)
        except OSError as error:
            raise BoardError(f"QEMU's monitor does not answer: {error}") from error

    # --- reaching it ----------------------------------------------------------------------------------------

    def wait_until_reached(self, timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Return when a command can be run on the board; raises BoardError after `timeout_s`."""
        console = self.state / "console.log"
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.is_running():
                raise BoardError(f"the emulator ended; its console is in {console}")
            if "Kernel panic" in console.read_text(errors="replace"):
                raise BoardError(f"the board's kernel panicked; its console is in {console}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self.run("true", check=False, timeout_s=60).returncode == 0:
                    return
            time.sleep(2)
        raise BoardError(f"the board did not answer within {timeout_s:.0f} s; see {console}")

    def run(
        self, command: str, *, check: bool = True, timeout_s: float = 600, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on the board, and return it with its output.

        With `check`, raises BoardError with the output when the command fails.
        """
        done = subprocess.run(
            [*self._ssh(), command], input=stdin or b"", capture_output=True, timeout=timeout_s, check=False
        )
        result = subprocess.CompletedProcess(
            command, done.returncode, done.stdout.decode(), done.stderr.decode()
        )
        if check and result.returncode:
            raise BoardError(
                f"on the board, {command!r} exited {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result

    def push(self, local: Sequence[Path], directory: str) -> None:
        """Copy files and folders into a directory of the board, which is created."""
        names = [word for path in local for word in ("-C", str(path.resolve().parent), path.name)]
        packed = subprocess.run(
            ["tar", "-c", "--exclude=__pycache__", *names], stdout=subprocess.PIPE, check=True
        )
        self._unpack(packed.stdout, directory)

    def push_checkout(self, directory: str) -> None:
        """Copy this checkout as it is, uncommitted changes included, but nothing that git ignores."""
        root = HERE.parent.parent
        listed = subprocess.run(
            ["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            stdout=subprocess.PIPE,
            check=True,
        )
        packed = subprocess.run(
            ["tar", "-c", "-C", root, "--null", "--files-from=-", "--ignore-failed-read"],
            input=listed.stdout,
            stdout=subprocess.PIPE,
            check=True,
        )
        self._unpack(packed.stdout, directory)

    def push_commit(self, commit: str, directory: str) -> None:
        """Copy the files of an earlier commit. Raises CalledProcessError where the clone lacks it."""
        root = HERE.parent.parent
        archive = subprocess.run(
            ["git", "-C", root, "archive", "--format=tar", commit], stdout=subprocess.PIPE, check=True
        )
        self._unpack(archive.stdout, directory)

    def _unpack(self, packed: bytes, directory: str) -> None:
        """Send an archive over plain TCP: an emulated CPU takes minutes to decipher what ssh would send."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(120)
            sender = threading.Thread(target=_send_once, args=(server, packed), daemon=True)
            sender.start()
            source = f"/dev/tcp/{_HOST_ADDRESS}/{server.getsockname()[1]}"
            quoted = shlex.quote(directory)
            self.run(f"mkdir -p {quoted} && bash -c 'tar -x --no-same-owner -C {quoted} <{source}'")
            sender.join()

    def pull(self, remote: str, directory: Path) -> None:
        """Copy a file or folder of the board into a local directory."""
        where, name = os.path.split(remote.rstrip("/"))
        packed = subprocess.run(
            [*self._ssh(), f"tar -c -C {shlex.quote(where or '/')} {shlex.quote(name)}"],
            stdout=subprocess.PIPE,
            check=True,
        )
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-x", "--no-same-owner", "-C", directory], input=packed.stdout, check=True)

    def interact(self, command: Sequence[str]) -> int:
        """Run a command with this terminal as its own; returns its exit code."""
        return subprocess.run([*self._ssh(), *command], check=False).returncode

    def _ssh(self) -> list[str]:
        return [
            "ssh", "-q", "-p", (self.state / "port").read_text(), "-i", str(self.image / "ssh-key"),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=30",
            "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=8",
            "-o", "ControlMaster=auto", "-o", f"ControlPath={self.state / 'ssh'}", "-o", "ControlPersist=yes",
            "root@127.0.0.1",
        ]  # fmt: skip

    def _disconnect(self) -> None:
        subprocess.run([*self._ssh()[:-1], "-O", "exit", "root@127.0.0.1"], capture_output=True, check=False)

    def _boot_id(self) -> str:
        return self.run("cat /proc/sys/kernel/random/boot_id").stdout

    def _wait_for_another_boot(self, before: str) -> None:
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while time.monotonic() < deadline:
            self._disconnect()
            self.wait_until_reached()
            with contextlib.suppress(BoardError):
                if self._boot_id() != before:
                    return
            time.sleep(2)
        raise BoardError("the board did not boot again")


def _send_once(server: socket.socket, content: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(content)


def _expect_return(stream: io.TextIOBase) -> None:
    """Read answers up to the one that is not an event; raises BoardError when it is an error."""
    while line := stream.readline():
        answer = json.loads(line)
        if "error" in answer:
            raise BoardError(f"QEMU's monitor: {answer['error']['desc']}")
        if "return" in answer:
            if answer["return"]:  # what the human monitor prints is always a complaint here
                raise BoardError(f"QEMU's monitor: {answer['return']}")
            return


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: build, start, run, push, pull, reboot, cut-power, stop."""
    parser = argparse.ArgumentParser(prog="tests/board/board", description="A virtual Raspberry Pi.")
    parser.add_argument("--cpu", default="cortex-a72", choices=CPUS, help="default: %(default)s")
    parser.add_argument("--suite", default=SUITES[0], choices=SUITES, help="Debian; default: %(default)s")
    parser.add_argument("--counted", action="store_true", help="its clock counts instructions, 1 ns each")
    commands = parser.add_subparsers(dest="action", required=True)
    for name, help_text in (
        ("build", "build the image, unless it is in the cache"),
        ("start", "start a clean board"),
        ("stop", "end it; what was on it is gone"),
        ("reboot", "reboot it in good order"),
        ("cut-power", "pull the plug and put it back"),
    ):
        commands.add_parser(name, help=help_text)
    run = commands.add_parser("run", help="run a command on it: run -- COMMAND...")
    run.add_argument("words", nargs=argparse.REMAINDER)
    push = commands.add_parser("push", help="copy files to it")
    push.add_argument("local", nargs="+", type=Path)
    push.add_argument("directory")
    checkout = commands.add_parser("push-checkout", help="copy this checkout to it, without what git ignores")
    checkout.add_argument("directory")
    pull = commands.add_parser("pull", help="copy a file or folder from it")
    pull.add_argument("remote")
    pull.add_argument("directory", type=Path)
    args = parser.parse_args(argv)
    board = Board(args.cpu, args.suite, counted=args.counted)
    try:
        return _act(board, args)
    except (BoardError, subprocess.SubprocessError) as error:
        print(f"board: {error}", file=sys.stderr)
        return 1


def _act(board: Board, args: argparse.Namespace) -> int:
    match args.action:
        case "build":
            print(build_image(board.suite))
        case "run":
            return board.interact(args.words[1:] if args.words[:1] == ["--"] else args.words)
        case "push":
            board.push(args.local, args.directory)
        case "push-checkout":
            board.push_checkout(args.directory)
        case "pull":
            board.pull(args.remote, args.directory)
        case action:
            getattr(board, action.replace("-", "_"))()
    return 0


if __name__ == "__main__":
    sys.exit(main())
