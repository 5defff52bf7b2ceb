"""How a network takes its pictures: said, assumed, or refused."""

from __future__ import annotations

import pytest

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import Preprocessing
from edge_agent.tools.builder.input_options import InputOptions

USUAL = Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def applied(**said: object) -> Preprocessing:
    return InputOptions(**said).applied_to(USUAL, has_one_channel=False)  # type: ignore[arg-type]


def test_what_is_not_said_is_as_usual_and_the_cut_keeps_its_share() -> None:
    assert applied() == USUAL
    assert (applied(size=112).crop, applied(size=112).resize) == (112, 128)
    assert (applied(size=112, squash=True).resize, applied(squash=True).resize) == (112, 224)
    assert (applied(resize=250, squash=True).resize, applied(mean=(0.5,)).mean) == (250, (0.5, 0.5, 0.5))


def test_a_built_model_gives_the_same_numbers_again() -> None:
    known = applied(size=100, resize=120, mean=(0.5,), std=(0.25,), squash=True, grey=True)
    assert InputOptions.from_preprocessing(known).applied_to(USUAL, has_one_channel=False) == known


def test_what_is_assumed_is_said() -> None:
    assert InputOptions().assumed(USUAL) == (
        "assumed of the pictures, as for ImageNet weights: --size 224, --resize 256,"
        " --mean 0.485 0.456 0.406, --std 0.229 0.224 0.225, no --squash, no --grey"
    )
    said = InputOptions(size=112, squash=True, mean=(0.5,), std=(0.5,))
    assert said.assumed(said.applied_to(USUAL, has_one_channel=False)) == ""


def test_a_network_of_one_channel_needs_its_own_numbers_and_sees_grey() -> None:
    with pytest.raises(ModelError, match="takes one channel: give the --mean and --std"):
        InputOptions().applied_to(USUAL, has_one_channel=True)
    said = InputOptions(mean=(0.5,), std=(0.5,))
    assert said.applied_to(USUAL, has_one_channel=True).grey


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"mean": (123.7, 116.3, 103.5)}, "--mean 123.7 116.3 103.5: from 0 to 1.*divide by 255"),
        ({"std": (58.4, 57.1, 57.4)}, "--std 58.4 57.1 57.4: "),
        ({"std": (0.0,)}, "--std 0: "),
        ({"mean": (float("nan"),)}, "--mean nan: "),
        ({"mean": (0.5, 0.5)}, "--mean: takes three numbers, or one for all channels, not 2"),
        ({"size": 0}, "--size 0: from 1"),
        ({"size": 9999}, "--size 9999: "),
        ({"size": 224, "resize": 200}, "--resize 200: from the size, 224"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(said: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        applied(**said)
