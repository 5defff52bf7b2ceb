"""The set-up of a fresh machine: what `make test` takes from Debian, and that lock files fit the project."""

from __future__ import annotations

import ensurepip
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parent.parent
SCRIPT = CHECKOUT / "requirements" / "debian"
LINE = "sudo apt-get update && sudo apt-get install --no-install-recommends "


class Machine:
    """A PATH with only what a test puts there, beside /usr/sbin; it records what apt-get is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = folder / "asked"
        for name in ("bash", "env", "ln", "true"):
            (folder / name).symlink_to(str(shutil.which(name)))
        self.has("ldconfig", "echo libXNNPACK.so.0")
        self.has("cc")
        self.is_of(1000)

    def has(self, name: str, script: str = "") -> None:
        (self.folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (self.folder / name).chmod(0o755)

    def has_apt(self, *, unknown: str = "-") -> None:
        """apt-get that brings what it is asked for, and nothing at all where that includes `unknown`."""
        self.has(
            "apt-get",
            f"""
            cd {self.folder}
            echo "$@" >>asked
            [[ " $* " != *" {unknown} "* ]] || exit 100
            [[ " $* " != *" mosquitto-clients "* ]] || ln -sf true mosquitto_rr
            [[ " $* " != *" shellcheck "* ]] || ln -sf true shellcheck
            """,
        )

    def is_of(self, user: int, *, sudo: str = "exit 1") -> None:
        self.has("id", f"echo {user}")
        self.has("sudo", sudo)

    def prepare(self, what: str = "test", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, what],
            cwd=self.folder,  # the checkout's own .venv may have torch
            env={"PATH": str(self.folder), **environment},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.has("mosquitto")
    made.has("nats-server")
    return made


def test_where_nothing_is_missing_nothing_is_asked_for(machine: Machine) -> None:
    machine.has("mosquitto_rr")
    machine.has("shellcheck")
    done = machine.prepare()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("user", "sudo"), [(0, "exit 1"), (1000, 'shift; exec "$@"')], ids=["root", "sudo"])
def test_what_is_missing_is_installed_where_that_asks_nothing(machine: Machine, user: int, sudo: str) -> None:
    machine.has_apt()
    machine.is_of(user, sudo=sudo)
    done = machine.prepare(CI="true")
    assert (done.returncode, done.stderr) == (0, "")
    update, install = machine.asked.read_text().splitlines()
    assert update.startswith("update")
    assert install.endswith(" mosquitto-clients shellcheck")


def test_where_sudo_asks_for_a_password_there_is_a_line_to_copy_and_nothing_is_done(machine: Machine) -> None:
    machine.has_apt()
    done = machine.prepare()
    assert done.returncode == 1
    assert f"{LINE}'mosquitto-clients' 'shellcheck'\n" in done.stderr
    assert not machine.asked.exists()


def test_what_is_missing_can_be_gone_without_and_is_named(machine: Machine) -> None:
    machine.has_apt()
    done = machine.prepare(SKIP_MISSING="1")
    assert done.returncode == 0
    assert "skipped: mosquitto-clients shellcheck\n" in done.stderr


def test_a_package_that_cannot_be_had_hinders_no_other_and_is_named(machine: Machine) -> None:
    machine.has_apt(unknown="shellcheck")
    machine.is_of(0)
    done = machine.prepare()
    assert done.returncode == 0
    assert "skipped: shellcheck\n" in done.stderr
    assert machine.prepare(CI="true").returncode == 1  # there, nothing may be skipped


def test_a_system_without_apt_goes_on_and_says_what_is_missing(machine: Machine) -> None:
    done = machine.prepare()
    assert done.returncode == 0
    assert "skipped: mosquitto-clients shellcheck\n" in done.stderr


def without_compiler_and_library(machine: Machine) -> Machine:
    machine.has("ldconfig")
    (machine.folder / "cc").unlink()
    return machine


def test_for_the_demo_a_compiler_is_enough(machine: Machine) -> None:
    machine.has_apt()
    machine.is_of(0)
    machine.has("ldconfig")
    done = machine.prepare("demo")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not machine.asked.exists()


def test_the_demo_takes_the_library_where_that_asks_nothing(machine: Machine) -> None:
    without_compiler_and_library(machine).is_of(0)
    machine.has(
        "apt-get",
        f"""
        echo "$@" >>{machine.asked}
        [[ " $* " != *" libxnnpack0"* ]] || printf '#!/bin/bash\necho libXNNPACK\n' >{machine.folder}/ldconfig
    """,
    )
    done = machine.prepare("demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert machine.asked.read_text().splitlines()[1].endswith(" libxnnpack0*")


def test_elsewhere_the_demo_says_in_one_line_what_it_needs_and_offers_torch(machine: Machine) -> None:
    without_compiler_and_library(machine).has_apt()
    done = machine.prepare("demo")
    needed, torch = done.stderr.splitlines()
    assert done.returncode == 1
    assert needed.endswith(f"{LINE}'gcc' 'libc6-dev'")
    assert "pip install '.[torch]'" in torch
    assert not machine.asked.exists()


def test_the_demo_asks_for_nothing_where_torch_is(machine: Machine) -> None:
    without_compiler_and_library(machine).has_apt()
    (machine.folder / ".venv/bin").mkdir(parents=True)
    machine.has(".venv/bin/python")  # it finds torch
    done = machine.prepare("demo")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def installed_with(folder: Path, torch_index: str) -> tuple[str, list[str]]:
    """What `requirements/install dev` prints, and what it asks pip for each time, its files' lines too."""
    (folder / "requirements").mkdir()
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("install", "dev.lock"):
        shutil.copy(CHECKOUT / "requirements" / name, folder / "requirements")
    for name in ("python", "pip"):
        program = folder / ".venv/bin" / name
        program.write_text(
            f"""#!/bin/bash
            cd {folder}
            echo "asked: $@" >>asked
            [[ ! -f ${{!#}} ]] || cat "${{!#}}" >>asked
            """
        )
        program.chmod(0o755)
    done = subprocess.run(
        [folder / "requirements/install", "dev"],
        env={"PATH": "/usr/bin:/bin", "TORCH_INDEX": torch_index},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, (folder / "asked").read_text().split("asked: ")[1:]


def test_torch_comes_from_the_index_that_is_named_and_all_else_by_its_hash(tmp_path: Path) -> None:
    said, (torch, others, _itself) = installed_with(tmp_path, "https://index.example/cpu")
    assert "GB" in said.splitlines()[0]
    assert "--no-deps --index-url https://index.example/cpu" in torch
    assert {line.partition("==")[0] for line in torch.splitlines()[1:]} == {"torch", "torchvision"}
    assert "--require-hashes" in others
    assert "\nnumpy==" in others
    assert not re.search(r"^(torch|torchvision|triton|nvidia-[a-z0-9-]+)==", others, re.MULTILINE)


def test_without_a_named_index_everything_comes_by_its_hash_and_its_size_is_said_first(
    tmp_path: Path,
) -> None:
    said, (everything, _itself) = installed_with(tmp_path, "")
    assert "GB to download" in said.splitlines()[0]
    assert "--require-hashes" in everything
    assert "\ntorch==" in everything


def test_a_virtual_environment_is_given_the_pip_that_came_with_its_python(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", tmp_path / "made"], check=True)
    python = tmp_path / "made/bin/python"
    subprocess.run([python, "-I", CHECKOUT / "requirements/unpack_pip.py"], check=True)
    done = subprocess.run(
        [python, "-I", "-m", "pip", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"pip {ensurepip.version()} from {tmp_path}")


@pytest.mark.parametrize("name", ["demo", "board"])
def test_neither_the_demo_nor_a_board_is_given_torch_unasked(name: str) -> None:
    assert not {"torch", "torchvision", "triton"} & locked(f"{name}.lock").keys()


def locked(name: str) -> dict[str, list[Requirement]]:
    """The packages of a lock file; each has a hash."""
    text = (CHECKOUT / "requirements" / name).read_text().replace("\\\n", "")
    assert "://" not in text
    found: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        assert "--hash=sha256:" in line
        requirement = Requirement(line.split("--hash")[0])
        found.setdefault(requirement.name, []).append(requirement)
    return found


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    ("name", "extras"), [("demo", ["demo"]), ("dev", ["torch", "opencv", "demo", "bench", "dev"])]
)
def test_a_lock_file_has_each_dependency_in_a_release_that_fits(
    name: str, extras: list[str], machine: str, python: str
) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [
        r for extra in extras for r in project["optional-dependencies"][extra]
    ]
    there = {
        "platform_machine": machine,
        "sys_platform": "linux",
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    packages = locked(f"{name}.lock")
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate(there):
            continue
        entries = packages[re.sub(r"[-_.]+", "-", requirement.name).lower()]
        chosen = [e for e in entries if e.marker is None or e.marker.evaluate(there)]
        assert len(chosen) == 1, requirement
        version = Version(str(chosen[0].specifier).removeprefix("=="))
        assert requirement.specifier.contains(version), requirement
