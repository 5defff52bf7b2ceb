"""What is brought to the virtual board: a wheelhouse for its Python, models built here, a configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.board.board import build_image, cache_dir

GUEST_PYTHON = {"trixie": "313", "bookworm": "311"}
REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
LEAN_LOCKS = (REQUIREMENTS / "board.lock",)
TORCH_LOCKS = (*LEAN_LOCKS, REQUIREMENTS / "board-torch.lock")
PLATFORMS = (
    "manylinux_2_28_aarch64",
    "manylinux_2_27_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux2014_aarch64",
)

FOLDER = """\
  type: folder
  fps: 2
  folder:
    path: /var/lib/pictures
    loop: true
"""
"""The section `source` of a configuration: the bundled pictures."""

_CONFIG = """\
device_id: board
source:
{source}stabilizer:
  window: 1
  votes: 1
  threshold: 0.2
publish:
  health_interval_s: 5
memory:
  budget_mb: {budget_mb}
mqtt:
  host: localhost
"""


def config(budget_mb: int, source: str = FOLDER) -> str:
    """A configuration of the agent on the board."""
    return _CONFIG.format(budget_mb=budget_mb, source=source)


def wheelhouse(suite: str) -> Path:
    """The packages to install without a network: Python's for the board's CPU, and Debian's libxnnpack."""
    return _filled(cache_dir() / suite / "wheelhouse", suite, LEAN_LOCKS)


def native_wheel() -> Path:
    """This checkout as a wheel for the board, its kernels compiled here, as `make wheels` makes it."""
    directory = cache_dir() / "native-wheel"
    shutil.rmtree(directory, ignore_errors=True)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory)]
    environment = os.environ | {"EDGE_AGENT_MACHINE": "aarch64"}
    command = [sys.executable, "-m", "pip", "wheel", *options, str(REQUIREMENTS.parent)]
    subprocess.run(command, env=environment, check=True)
    (wheel,) = directory.glob("*.whl")
    return wheel


def torch_wheelhouse(suite: str) -> Path:
    """The same, and torch."""
    return _filled(cache_dir() / suite / "wheelhouse-torch", suite, TORCH_LOCKS)


def _filled(directory: Path, suite: str, locks: Sequence[Path]) -> Path:
    complete = directory / ".complete"
    contents = _locked(suite, locks)
    if not (complete.is_file() and complete.read_text() == contents):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        wanted = directory / "wanted.txt"
        wanted.write_text(contents)
        pip_for_board(suite, "download", "--dest", directory, "--require-hashes", "--requirement", wanted)
        for package in sorted((build_image(suite) / "debs").glob("*.deb")):
            shutil.copy(package, directory)
        complete.write_text(contents)
    return directory


def _locked(suite: str, locks: Sequence[Path]) -> str:
    """The locked packages for the board's Python and CPU, as pip's requirements."""
    python = f"{GUEST_PYTHON[suite][0]}.{GUEST_PYTHON[suite][1:]}"
    command: list[str | Path] = [sys.executable, "-I", REQUIREMENTS / "board.py", "target", *locks]
    command += ["--", python, "aarch64"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def pip_for_board(suite: str, command: str, *arguments: str | Path) -> None:
    """Have this machine's pip deal with wheels for the board's Python and CPU, and with no others."""
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    options = [
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version",
        GUEST_PYTHON[suite],
        *platforms,
    ]
    subprocess.run([sys.executable, "-m", "pip", command, *options, *arguments], check=True)


def real_model() -> Path:
    """EfficientNet-Lite0 with its ImageNet weights: it knows what is in the bundled pictures."""
    return _built("efficientnet_lite0", "efficientnet_lite0", None)


def resnet18_model() -> Path:
    """ResNet-18 with seeded weights: its memory and speed are those of the real one, its answers are not."""
    return _built("resnet18", "resnet18", resnet18_weights())


def resnet18_weights() -> Path:
    """A state dict of ResNet-18, from a seed."""
    weights = cache_dir() / "resnet18-seeded.pt"
    if not weights.is_file():
        import torch
        import torchvision

        torch.manual_seed(1)
        torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights)
    return weights


def _built(name: str, arch: str, weights: Path | None) -> Path:
    from edge_agent.tools.builder.build import BuildOptions, build

    directory = cache_dir() / f"model-{name}"
    if not (directory / "model.json").is_file():
        build(
            BuildOptions(output=directory, arch=arch, weights=weights),
            lambda line: print(line, file=sys.stderr),
        )
    return directory
