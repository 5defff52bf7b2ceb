"""The installed service, as its owner handles it: over a shell on the board, and with mosquitto's clients."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.tools.demo.bundled import PICTURES_DIR as PICTURES
from tests.board import materials
from tests.board.board import CPUS, Board

SOURCE = "/root/edge_agent"
CONFIG_FILE = "/etc/edge-agent/edge-agent.yaml"
TOPICS = "edge_agent/board"
INSTALL_TIMEOUT_S = 3600
HEALTHY_TIMEOUT_S = 900
# What the whole daemon may take with ResNet-18 on the lean engine; FP16 arithmetic needs the newer core.
BUDGET_MB = dict(zip(CPUS, (110, 85), strict=True))


@dataclass(frozen=True)
class Unit:
    """What systemd says about the service."""

    active: str
    sub: str
    pid: int
    restarts: int
    status: str
    exit_code: int

    @classmethod
    def parse(cls, text: str) -> Unit:
        values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return cls(
            active=values["ActiveState"],
            sub=values["SubState"],
            pid=int(values["MainPID"]),
            restarts=int(values["NRestarts"]),
            status=values["StatusText"],
            exit_code=int(values["ExecMainStatus"]),
        )


class Service:
    """edge-agent on one board."""

    def __init__(self, board: Board, model: Path | None = None) -> None:
        """`model` is the model directory to install; None for the one that knows the bundled pictures."""
        self.board = board
        self.model = model or materials.real_model()
        self.install_output = ""

    def bring_materials(self) -> None:
        """Copy the checkout, a wheelhouse, a model and pictures to the board, and write a configuration."""
        self.board.push_checkout(SOURCE)
        self.board.push([materials.wheelhouse(self.board.suite), self.model, PICTURES], "/root")
        self.board.run("mkdir -p /var/lib/pictures && cp /root/pictures/*.jpg /var/lib/pictures/")
        self.write("/root/board.yaml", materials.config(BUDGET_MB[self.board.cpu]))

    def bring_release(self, commit: str) -> None:
        """Replace the checkout by the files of an earlier commit."""
        self.board.run(f"rm -rf {SOURCE}")
        self.board.push_commit(commit, SOURCE)

    def bring_checkout(self) -> None:
        """Replace what lies there by this checkout."""
        self.board.run(f"rm -rf {SOURCE}")
        self.board.push_checkout(SOURCE)

    def install(self, options: str = "", *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run install.sh from the checkout on the board, without torch and without a network."""
        lean = f"--lean /root/{self.model.name} --offline /root/wheelhouse"
        return self.run_installer(f"{lean} {options}", check=check)

    def install_torch(self, options: str = "--torch") -> None:
        """Run install.sh with torch, ResNet-18 built on the board, without a network.

        `options` may be empty for a release whose install.sh took torch unasked.
        """
        wheels, weights = materials.torch_wheelhouse(self.board.suite), materials.resnet18_weights()
        self.board.push([wheels, weights], "/root")
        self.run_installer(
            f"--weights /root/{weights.name} --arch resnet18 --offline /root/{wheels.name} {options}"
        )

    def has_torch(self, release: str = "current") -> bool:
        """Whether a release has torch in it: `current`, or `previous`."""
        found = self.board.run(
            f"ls -d /opt/edge-agent/{release}/lib/python3*/site-packages/torch", check=False
        )
        return found.returncode == 0

    def run_installer(
        self, options: str, *, check: bool = True, under: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run install.sh from the checkout on the board, with these options and the board's configuration.

        `under` is a command that runs it.
        """
        settings = f"--config /root/board.yaml --wait {HEALTHY_TIMEOUT_S}"
        done = self.board.run(
            f"cd {SOURCE} && {under} ./install.sh {settings} {options}",
            check=check,
            timeout_s=INSTALL_TIMEOUT_S,
        )
        self.install_output = done.stdout + done.stderr
        return done

    def write(self, path: str, content: str) -> None:
        """Write a file on the board: renamed over the old one, as editors do, with its owner and mode."""
        new = shlex.quote(path + ".new")
        self.board.run(
            f"cp -p {shlex.quote(path)} {new} 2>/dev/null; cat >{new} && mv {new} {shlex.quote(path)}",
            stdin=content.encode(),
        )

    def read(self, path: str) -> str:
        return self.board.run(f"cat {shlex.quote(path)}").stdout

    def unit(self) -> Unit:
        wanted = "ActiveState,SubState,MainPID,NRestarts,StatusText,ExecMainStatus"
        return Unit.parse(self.board.run(f"systemctl show --property={wanted} edge-agent.service").stdout)

    def wait_for(self, state: str, timeout_s: float = HEALTHY_TIMEOUT_S) -> Unit:
        """Return the unit once it is in `state`; fails with the journal otherwise."""
        deadline = time.monotonic() + timeout_s
        unit = self.unit()
        while unit.active != state and time.monotonic() < deadline:
            time.sleep(2)
            unit = self.unit()
        assert unit.active == state, f"{unit}\n{self.journal()}"
        return unit

    def journal(self, lines: int = 30) -> str:
        return self.board.run(f"journalctl --unit=edge-agent --no-pager --output=cat --lines={lines}").stdout

    def received(self, topic: str, count: int = 1, timeout_s: int = 300, options: str = "") -> list[Any]:
        """What mosquitto_sub on the board receives on a topic of the device, parsed as JSON where it is."""
        done = self.board.run(
            f"mosquitto_sub -t {TOPICS}/{topic} -C {count} -W {timeout_s} {options}", timeout_s=timeout_s + 60
        )
        return [json.loads(line) if line.startswith("{") else line for line in done.stdout.splitlines()]

    def fresh_states(self, count: int = 1) -> list[dict[str, Any]]:
        """`state` messages that are published from now on."""
        return self.received("state", count, options="-R")

    def rss_mb(self) -> float:
        """VmRSS of the daemon and its children, in MiB."""
        pid = self.unit().pid
        text = self.board.run(f"cat /proc/{pid}/status $(pgrep -P {pid} | sed 's,.*,/proc/&/status,')").stdout
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:")) / 1024
