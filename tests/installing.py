"""How the tests run install.sh: below a directory of their own, as it is, or with stand-ins for systemd."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

# Reads install.sh's functions and puts stand-ins in the place of what would touch this machine.
_DRIVER = """
source {checkout}/install.sh
eval "real_$(declare -f set_paths)"
set_paths() {{ real_set_paths; packaging=0 managed=1; }}
check_rights() {{ :; }}
check_memory_is_not_the_disk() {{ :; }}
create_user() {{ :; }}
missing_packages() {{ :; }}
chown() {{ :; }}
sync() {{ :; }}
journalctl() {{ :; }}
sleep() {{ if (($1 == 1)); then command sleep 0.05; else exec sleep "$1"; fi; }}
systemctl() {{ {stand_ins}/systemctl "$@"; }}
fill_release() {{
    mkdir -p "$release/bin"
    printf '#!/bin/sh\\nexec {stand_ins}/python "$@"\\n' >"$release/bin/python"
    printf '#!/bin/sh\\necho "edge-agent stand-in"\\n' >"$release/bin/edge-agent"
    chmod 755 "$release/bin/"*
    {stand_ins}/reached filling || interruptible sleep 60
}}
{changes}
main "$@"
"""

# What `systemctl` and the agent would do. The test decides which release is sick, and where a run stops.
_STAND_INS = {
    "systemctl": """#!/bin/bash
here={stand_ins}
echo "$*" >>"$here/systemctl.log"
case $1 in
--version) echo "systemd 252 (252.1)" ;;
is-enabled) cat "$here/enabled" 2>/dev/null || {{ echo disabled; exit 1; }} ;;
is-active) cat "$here/active" 2>/dev/null || {{ echo inactive; exit 3; }} ;;
enable) echo enabled >"$here/enabled" ;;
disable)
    [[ -f {root}/etc/systemd/system/edge-agent.service ]] || exit 1
    rm -f "$here/enabled"
    [[ $* != *--now* ]] || rm -f "$here/active"
    ;;
stop) rm -f "$here/active" ;;
restart)
    if [[ -f $here/sick && $(readlink {root}/opt/edge-agent/current) == *$(<"$here/sick")* ]]; then
        echo failed >"$here/active"
    elif ! "$here/reached" starting; then
        echo activating >"$here/active"
    else
        echo active >"$here/active"
    fi
    ;;
show)
    case $2 in
    --property=ActiveState) cat "$here/active" 2>/dev/null || echo inactive ;;
    --property=NRestarts) echo 0 ;;
    esac
    ;;
esac
""",
    "python": """#!/bin/bash
if [[ " $* " == *" first-label "* ]]; then
    {stand_ins}/reached label || exec sleep 60
    echo "lorikeet (0.93)"
    exit
fi
unset PYTHONSAFEPATH
PYTHONPATH={checkout} exec {python} "${{@/#-I/-P}}"
""",
    # Whether the run goes on past this point: the first time it stops there, where the test wished it.
    "reached": """#!/bin/bash
[[ $(cat {stand_ins}/stop-at 2>/dev/null) == "$1" ]] || exit 0
rm {stand_ins}/stop-at
touch {stand_ins}/stopped-at-$1
exit 1
""",
}


def run(*options: str | Path, checkout: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    """Run install.sh as it is."""
    return subprocess.run([checkout / "install.sh", *options], capture_output=True, text=True, check=False)


def copy_of_checkout(directory: Path) -> Path:
    """What install.sh needs of the checkout, to be changed by a test."""
    for name in ("edge_agent", "native", "systemd", "requirements"):
        shutil.copytree(CHECKOUT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("install.sh", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md"):
        shutil.copy(CHECKOUT / name, directory / name)
    return directory


def set_version(checkout: Path, version: str) -> None:
    (checkout / "edge_agent/__init__.py").write_text(f'"""Under test."""\n\n__version__ = "{version}"\n')


@dataclass(frozen=True)
class Installation:
    """What install.sh made below `root`."""

    root: Path
    checkout: Path
    model: Path

    @property
    def current(self) -> Path:
        return self.root / "opt/edge-agent/current"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/edge-agent"

    @property
    def config(self) -> Path:
        return self.root / "etc/edge-agent/edge-agent.yaml"

    @property
    def releases(self) -> list[str]:
        return sorted(path.name for path in (self.root / "opt/edge-agent/releases").iterdir())

    def install(self, *options: str | Path) -> subprocess.CompletedProcess[str]:
        return run("--root", self.root, "--lean", self.model, *options, checkout=self.checkout)


@dataclass(frozen=True)
class Board(Installation):
    """A board of stand-ins: releases without packages, a systemd that a test decides about."""

    stand_ins: Path = field(kw_only=True)

    @classmethod
    def make(cls, directory: Path, model: Path) -> Board:
        directory.mkdir(exist_ok=True)
        board = cls(
            directory / "root",
            copy_of_checkout(directory / "checkout"),
            model,
            stand_ins=directory / "stand-ins",
        )
        board.root.mkdir()
        board.stand_ins.mkdir()
        for name, text in _STAND_INS.items():
            script = board.stand_ins / name
            script.write_text(board._filled(text))
            script.chmod(0o755)
        set_version(board.checkout, "1.0.0")
        return board

    @contextmanager
    def restored(self) -> Iterator[Board]:
        """The board, as it was again when the context ends: a copy is quicker than an installation."""
        here = self.root.parent
        kept = here.with_name(f"{here.name}-kept")
        subprocess.run(["cp", "-a", here, kept], check=True)
        try:
            yield self
        finally:
            shutil.rmtree(here)
            kept.rename(here)

    def _filled(self, text: str, changes: str = "") -> str:
        return text.format(
            checkout=self.checkout,
            root=self.root,
            stand_ins=self.stand_ins,
            python=shlex.quote(sys.executable),
            changes=changes,
        )

    def start(
        self,
        *options: str | Path,
        changes: str = "",
        environment: Mapping[str, str] | None = None,
        lean: bool = True,
    ) -> subprocess.Popen[str]:
        """Begin a run; `changes` are shell functions in the place of install.sh's own."""
        model: list[str | Path] = ["--lean", self.model] if lean else []
        arguments = ["--root", self.root, *model, "--wait", "30", *options]
        # A run of the tests that ignores signals (nohup, a job in the background) would hand that on.
        heeding = ["/usr/bin/env", "--default-signal=HUP,INT,TERM"]
        return subprocess.Popen(
            [*heeding, "/bin/bash", "-p", "-c", self._filled(_DRIVER, changes), "install.sh", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={"EDGE_AGENT_INSTALL": "clean", "CALLER_HOME": "/", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                 "LC_ALL": "C.UTF-8", **(environment or {})},
        )  # fmt: skip

    def install(
        self, *options: str | Path, changes: str = "", lean: bool = True
    ) -> subprocess.CompletedProcess[str]:
        with self.start(*options, changes=changes, lean=lean) as running:
            said, _ = running.communicate(timeout=60)
        return subprocess.CompletedProcess([], running.returncode, said, said)

    def upgrade_to(self, version: str, changes: str = "") -> subprocess.CompletedProcess[str]:
        set_version(self.checkout, version)
        return self.install(changes=changes)

    def stop_at(self, point: str) -> Path:
        """Let the next run wait at `filling`, `starting` or `label`; returns the file that says it does."""
        (self.stand_ins / "stop-at").write_text(point)
        return self.stand_ins / f"stopped-at-{point}"

    def make_sick(self, version: str) -> None:
        (self.stand_ins / "sick").write_text(f"/{version}-")

    def running(self) -> tuple[str, str]:
        """Whether the service is enabled, and what systemd says that it does."""
        return tuple(self._said(name) for name in ("enabled", "active"))  # type: ignore[return-value]

    def _said(self, name: str) -> str:
        path = self.stand_ins / name
        return path.read_text().strip() if path.exists() else ""

    def snapshot(self) -> dict[str, str]:
        """Everything below the root but the releases: links, modes and contents; and the service."""
        found = {"service": str(self.running())}
        for directory, names, files in os.walk(self.root):
            if directory.endswith("/opt/edge-agent"):
                names[:] = [name for name in names if name != "releases"]
            for name in (*names, *files):
                path = Path(directory) / name
                status = path.lstat()
                content = (
                    path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else ""
                )
                found[str(path.relative_to(self.root))] = f"{status.st_mode:o} {content!s:.2000}"
        return found
