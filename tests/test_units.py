"""The unit files: what they promise is held by systemd's own tools, where those are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from edge_agent.errors import EXIT_RESTART, EXIT_USAGE
from edge_agent.tools import compiled
from tests.installed import program

UNITS = Path(__file__).resolve().parent.parent / "systemd"
SERVICE = UNITS / "edge-agent.service"
LEAN = UNITS / "edge-agent.service.d/15-lean.conf"


def directives(path: Path) -> list[tuple[str, str]]:
    pairs = re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE)
    return [(str(key), str(value)) for key, value in pairs]


def test_the_service_scores_at_most_1_5_in_systemds_security_review() -> None:
    review = subprocess.run(
        [program("systemd-analyze"), "security", "--offline=true", "--threshold=15", "--no-pager", SERVICE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert review.returncode == 0, review.stdout + review.stderr


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    shutil.copy(SERVICE, tmp_path)
    (tmp_path / LEAN.parent.name).mkdir()
    shutil.copy(LEAN, tmp_path / LEAN.parent.name)
    checked = subprocess.run(
        [program("systemd-analyze"), "verify", tmp_path / SERVICE.name],
        capture_output=True,
        text=True,
        check=False,
    )
    names = "|".join(re.escape(path.name) for path in (SERVICE, LEAN))
    assert [line for line in checked.stderr.splitlines() if re.search(rf"({names}):\d+:", line)] == []


def test_nothing_forbids_what_the_engines_need() -> None:
    keys = {key for key, _ in directives(SERVICE)}
    assert "MemoryDenyWriteExecute" not in keys
    assert "ProcSubset" not in keys
    assert "PrivateDevices" not in keys


def test_malloc_is_left_to_the_agent_which_knows_its_engine() -> None:
    set_here = {value.partition("=")[0] for key, value in directives(SERVICE) if key == "Environment"}
    assert set_here == {"OPENBLAS_NUM_THREADS"}
    assert "MALLOC_" not in SERVICE.read_text()


def test_the_cameras_stay_reachable() -> None:
    allowed = {value for key, value in directives(SERVICE) if key == "DeviceAllow"}
    assert {"char-81 rw", "char-media rw", "char-dma_heap rw", "char-vchiq rw"} <= allowed
    assert ("SupplementaryGroups", "video render") in directives(SERVICE)


def test_exit_codes_mean_to_systemd_what_they_mean_to_the_agent() -> None:
    found = dict(directives(SERVICE))
    assert found["RestartForceExitStatus"] == str(EXIT_RESTART)
    assert found["SuccessExitStatus"] == str(EXIT_RESTART)
    assert found["RestartPreventExitStatus"] == str(EXIT_USAGE)


def test_what_older_systemd_does_not_know_is_only_in_the_drop_in_for_newer_ones() -> None:
    newer = {"notify-reload", "RestartSteps", "RestartMaxDelaySec"}
    assert not newer & set(re.findall(r"[\w-]+", "\n".join(f"{k}={v}" for k, v in directives(SERVICE))))
    drop_in = dict(directives(UNITS / "edge-agent.service.d/10-systemd-254.conf"))
    assert drop_in["Type"] == "notify-reload"
    assert drop_in["ExecReload"] == ""


def test_without_torch_the_same_program_runs_without_docstrings_from_what_was_compiled_before() -> None:
    lean = [
        (key, value.removeprefix("-").split()) for key, value in directives(LEAN) if key.startswith("Exec")
    ]
    assert [key for key, _ in lean] == ["ExecStartPre", "ExecStart", "ExecStart"]
    before, emptied, runs = [command for _, command in lean]
    assert emptied == []
    program, *arguments = dict(directives(SERVICE))["ExecStart"].split()
    assert runs[0] == str(Path(program).with_name("python"))
    assert runs[-len(arguments) - 2 :] == ["-m", "edge_agent", *arguments]
    flags = runs[1 : -len(arguments) - 2]
    assert flags == ["-I", "-OO", "-X", "pycache_prefix=${CACHE_DIRECTORY}/python"]
    assert before == [runs[0], *flags, "-m", compiled.__name__]
