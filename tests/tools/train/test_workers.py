"""Several processes train one network as one process does, by the same command under torchrun."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from edge_agent.cli import main
from edge_agent.errors import ModelError
from edge_agent.memory.procfs import parse_children
from edge_agent.tools.train.workers import ALONE, Workers
from tests.tools.train.scenes import render

OPTIONS = ("--arch", "shufflenet_v2_x0_5", "--weights", "none", "--size", "32", "--batch", "8")
TORCHRUN = (sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("set") / "gate", days=5, shots=4)


def losses(said: str) -> list[float]:
    return [float(each) for each in re.findall(r"epoch \d+ of \d+: loss ([\d.]+)", said)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, sys.path))}


@pytest.mark.train
def test_two_workers_go_on_with_what_one_began_and_learn_as_one_does(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(root), *OPTIONS, "--epochs", "2", "--json"]
    assert main([*command, "--accumulate", "2", "--output", str(tmp_path / "one")]) == 0
    alone = losses(capsys.readouterr().err)
    begun = [*command, "--accumulate", "2", "--output", str(tmp_path / "two")]
    interrupt_after_a_step(begun)
    assert "goes on from there" in capsys.readouterr().err
    done = subprocess.run(
        [*TORCHRUN, "-m", "edge_agent", *command, "--output", tmp_path / "two"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"goes on after step [12]\n", done.stderr)
    assert losses(done.stderr) == pytest.approx(alone[-len(losses(done.stderr)) :], rel=2e-3)
    assert json.loads(done.stdout)["judgement"]["pictures"] == 8  # one of them says it
    assert (tmp_path / "two" / "model.json").is_file()


def interrupt_after_a_step(command: list[str]) -> None:
    """As by Ctrl-C, which is heard at the end of the first step."""
    from unittest.mock import patch

    from edge_agent.tools.train.loop import Training

    step = Training._step

    def and_then(self: Training, *given: object) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, *given)  # type: ignore[arg-type]

    with patch.object(Training, "_step", and_then):
        assert main(command) == 130


def test_every_picture_of_a_step_is_of_one_worker() -> None:
    shares = [Workers(rank, 3).share(np.arange(8)) for rank in range(3)]
    assert np.concatenate(shares).tolist() == list(range(8))
    assert {len(each) for each in shares} == {2, 3}
    assert ALONE.share(np.arange(3)).tolist() == [0, 1, 2]


def test_more_workers_than_pictures_in_a_step_are_refused() -> None:
    with pytest.raises(ModelError, match="raise --batch"):
        Workers(0, 4).share(np.arange(3))


@pytest.mark.train
@pytest.mark.parametrize("killed", [0, 1])
def test_a_worker_that_dies_ends_all_and_the_others_say_so(root: Path, tmp_path: Path, killed: int) -> None:
    command = ["train", str(root), *OPTIONS, "--epochs", "500", "--output", str(tmp_path / "model")]
    with (tmp_path / "said").open("w+") as said:
        process = subprocess.Popen(
            [*TORCHRUN, "-m", "edge_agent", *command], stderr=said, env=environment(), start_new_session=True
        )
        try:
            state = tmp_path / "model.training" / "state.pt"
            due_s = time.monotonic() + 120
            while not state.exists() and time.monotonic() < due_s:
                time.sleep(0.2)
            workers = children(process.pid)
            assert len(workers) == 2
            os.kill(sorted(workers)[killed], signal.SIGKILL)
            assert process.wait(120) != 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        said.seek(0)
        text = said.read()
    assert "another worker has ended" in text or "SIGKILL" in text
    assert not any(Path(f"/proc/{each}").exists() for each in workers)


def children(pid: int) -> tuple[int, ...]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return tuple(each for path in lists for each in parse_children(path.read_text()))
