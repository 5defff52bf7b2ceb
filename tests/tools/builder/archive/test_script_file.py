"""TorchScript archives: what torch wrote is read without it, mapped, in every form of a network."""

from __future__ import annotations

import io
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="torch is not installed")

import torch
from torch import nn

from edge_agent.errors import ModelError
from edge_agent.inference.torchscript import deprecation_unmentioned
from edge_agent.tools.builder.archive.contents import Archive, ScriptObject
from edge_agent.tools.builder.archive.script_file import open_archive
from edge_agent.tools.builder.lowering.blob import encode
from edge_agent.tools.builder.symbolic.translate import translate_archive
from tests.attack.tally import Tally
from tests.tools.builder.archive.bent import bent, bent_zip, entries_of


class Small(nn.Module):
    """A network with a branch that scripting keeps and tracing does not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.doubled = True

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        made = torch.relu(self.norm(self.conv(picture)))
        if self.doubled:
            made = made * 2
        return made.mean((2, 3))


def half(module: Any) -> Any:
    return module.half()


def as_it_is(module: Any) -> Any:
    return module


def saved(path: Path, change: Callable[[Any], Any] = as_it_is, *, scripted: bool = False) -> Path:
    torch.manual_seed(0)
    network = Small().eval()
    with deprecation_unmentioned():
        jit: Any = torch.jit
        made = jit.script(network) if scripted else jit.trace(network, torch.zeros(1, 3, 8, 8))
        torch.jit.save(change(made), str(path))
    return path


def conv_weight(archive: Archive) -> NDArray[Any]:
    conv = archive.root.attributes["conv"]
    assert isinstance(conv, ScriptObject)
    weight = conv.attributes["weight"]
    assert isinstance(weight, np.ndarray)
    return weight


@pytest.mark.parametrize("scripted", [False, True])
def test_the_objects_have_the_networks_weights_and_the_code_its_classes(
    tmp_path: Path, scripted: bool
) -> None:
    archive = open_archive(saved(tmp_path / "small.pt", scripted=scripted))
    torch.manual_seed(0)
    np.testing.assert_array_equal(conv_weight(archive), Small().conv.weight.detach().numpy())
    module = archive.root.class_name.rpartition(".")[0]
    assert "def forward(self" in archive.code[module]


def test_half_weights_are_seen_as_half(tmp_path: Path) -> None:
    archive = open_archive(saved(tmp_path / "small.pt", half))
    assert conv_weight(archive).dtype == np.float16


def test_the_constants_of_a_frozen_network_are_there(tmp_path: Path) -> None:
    archive = open_archive(saved(tmp_path / "small.pt", torch.jit.freeze))
    assert [constant.shape for constant in archive.constants if isinstance(constant, np.ndarray)] != []


def test_tensors_are_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    weight = conv_weight(open_archive(saved(tmp_path / "small.pt")))
    assert not weight.flags.owndata
    assert not weight.flags.writeable


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "state.pth")
    with pytest.raises(ModelError, match=r"state\.pth: is not a TorchScript file"):
        open_archive(tmp_path / "state.pth")


def test_a_file_that_is_cut_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    whole = saved(tmp_path / "small.pt").read_bytes()
    for length in range(1, len(whole), 997):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"cut\.pt: cut off or damaged"):
            open_archive(tmp_path / "cut.pt")


def test_damaged_bytes_of_a_weight_are_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "small.pt")
    damaged = bytearray(path.read_bytes())
    weight = Small().conv.weight
    torch.manual_seed(0)
    place = damaged.find(Small().conv.weight.detach().numpy().tobytes())
    assert place > 0, weight
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ModelError, match="is not what was written"):
        open_archive(path)


def test_it_is_read_from_memory_as_torch_writes_it_there(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with deprecation_unmentioned():
        torch.jit.save(torch.jit.script(Small().eval()), buffer)
    (tmp_path / "memory.pt").write_bytes(buffer.getvalue())
    assert open_archive(tmp_path / "memory.pt").root.class_name.endswith("Small")


def lowered_or_refused(path: Path) -> str:
    """Read a file and lower what it holds: `lowered`, or what refuses it. Other exceptions fail the test."""
    try:
        translated = translate_archive(open_archive(path), (1, 8, 8, 3))
        encode(translated.plan, translated.output, "fp32")
    except ModelError as error:
        if not str(error).isprintable():
            pytest.fail(repr(error))
        return str(error)
    return "lowered"


def attack(tmp_path: Path, count: int) -> tuple[list[str], str]:
    """Damage traced, scripted and frozen files; return what came of each, and what it took."""
    samples = [
        saved(tmp_path / "traced.pt"),
        saved(tmp_path / "scripted.pt", scripted=True),
        saved(tmp_path / "frozen.pt", torch.jit.freeze),
    ]
    assert [lowered_or_refused(path) for path in samples] == ["lowered"] * 3
    wholes = [path.read_bytes() for path in samples]
    entries = [entries_of(path) for path in samples]
    path, slowest, outcomes = tmp_path / "bent.pt", 0.0, list[str]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(count):
        sample = seed // 4 % len(samples)
        if seed % 4:
            bent_zip(path, seed, entries[sample], (".pkl", ".py", "version", "byteorder"))
        else:
            bent(path, seed, wholes[sample])
        began = time.monotonic()
        outcomes.append(lowered_or_refused(path))
        slowest = max(slowest, time.monotonic() - began)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert slowest < 20
    assert grown_mb < 300
    return outcomes, f"at most {slowest:.2f} s, {grown_mb:.0f} MB more"


def test_damaged_files_are_lowered_or_refused_by_name(tmp_path: Path) -> None:
    outcomes, _ = attack(tmp_path, 300)
    assert "lowered" in outcomes
    assert len(set(outcomes)) > 50


@pytest.mark.attack
def test_twenty_thousand_damaged_files_are_lowered_or_refused_by_name(tmp_path: Path, tally: Tally) -> None:
    outcomes, took = attack(tmp_path, 20_000)
    lowered = outcomes.count("lowered")
    tally.add(
        "TorchScript files, bytes of pickles and code damaged, behind their checksums too",
        len(outcomes),
        f"{len(outcomes) - lowered:,} refused by name, {lowered:,} lowered, {took}",
    )
