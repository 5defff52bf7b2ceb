"""State dicts: read without running code, and fitted to a network with errors that name the keys."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch
from torch import nn

from edge_agent.errors import ModelError
from edge_agent.tools.builder.modules import modules_of
from edge_agent.tools.builder.state_dict import check_fit, read_state_dict


def tiny(classes: int = 3) -> nn.Module:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), fc=nn.Linear(4, classes))
    )


def saved(value: object, path: Path) -> Path:
    torch.save(value, path / "weights.pth")
    return path / "weights.pth"


class Payload:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (print, ("code ran",))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
    ],
    ids=["plain", "state_dict", "model", "data parallel"],
)
def test_weights_are_found_however_a_training_script_keeps_them(
    tmp_path: Path, wrap: Callable[[dict[str, Any]], object]
) -> None:
    trained = tiny().state_dict()
    found = read_state_dict(saved(wrap(trained), tmp_path))
    assert list(found) == list(trained)
    for key, value in trained.items():
        np.testing.assert_array_equal(found[key], value.numpy())


def test_a_file_that_would_run_code_is_refused_and_runs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved({"weight": torch.zeros(1), "evil": Payload()}, tmp_path)
    with pytest.raises(ModelError, match=r"weights\.pth: holds more than tensors.*model\.state_dict\(\)"):
        read_state_dict(path)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(3), " but ndarray"),
        ({}, " but dict"),
        ({"lr": 0.1}, ": its entry 'lr' is of type float"),
        ({1: torch.zeros(1)}, ": its entry 1 is of type ndarray"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(ModelError, match=rf"weights\.pth: not a state dict{message}"):
        read_state_dict(saved(value, tmp_path))


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 not a zip", b"\x80\x02}q\x00."])
def test_bytes_that_are_no_weights_are_refused_with_the_file_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.pth: "):
        read_state_dict(tmp_path / "weights.pth")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tiny().state_dict(), tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"weights\.pth: "):
        read_state_dict(path)


def test_missing_and_unexpected_keys_are_named(tmp_path: Path) -> None:
    state = tiny().state_dict()
    state["head.weight"] = state.pop("fc.weight")
    path = saved(state, tmp_path)
    with pytest.raises(ModelError, match=r"missing: fc\.weight; unexpected: head\.weight; is --arch right\?"):
        check_fit(modules_of(tiny()).state(), read_state_dict(path), path)


def test_wrong_shapes_are_named_with_both(tmp_path: Path) -> None:
    path = saved(tiny(5).state_dict(), tmp_path)
    with pytest.raises(
        ModelError, match=r"wrong shapes: fc\.weight is \(5, 4\), expected \(3, 4\), fc\.bias"
    ):
        check_fit(modules_of(tiny(3)).state(), read_state_dict(path), path)


def test_many_wrong_keys_are_counted_not_listed(tmp_path: Path) -> None:
    path = saved({f"layer{number}": torch.zeros(1) for number in range(99)}, tmp_path)
    with pytest.raises(ModelError, match=r"layer4 and 94 more"):
        check_fit(modules_of(tiny()).state(), read_state_dict(path), path)


def test_files_from_before_batch_norm_counted_its_steps_are_fine(tmp_path: Path) -> None:
    state = {key: value for key, value in tiny().state_dict().items() if "num_batches" not in key}
    path = saved(state, tmp_path)
    check_fit(modules_of(tiny()).state(), read_state_dict(path), path)


def test_densenets_old_names_are_understood(tmp_path: Path) -> None:
    key = "features.denseblock1.denselayer2.{}.weight"
    path = saved({key.format("norm.1"): torch.ones(2), key.format("conv.2"): torch.ones(2)}, tmp_path)
    assert list(read_state_dict(path)) == [key.format("norm1"), key.format("conv2")]
