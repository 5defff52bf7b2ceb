"""What another process teaches while this one is busy is taken up afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.daemon.pupil import Pupil
from edge_agent.teach.head import Head
from edge_agent.teach.lessons import Lessons
from tests.teach.test_lessons import features_of, lessons, shot


def teach(elsewhere: Lessons, label: str) -> None:
    """As a command does: the example, then the head."""
    elsewhere.add(label, [shot(label, 1, number) for number in range(3)])
    elsewhere.fit()


def finish(pupil: Pupil) -> None:
    while pupil.is_busy:
        pupil.work()


@pytest.mark.parametrize("busy_with", ["the report of a head", "a fit"])
@pytest.mark.parametrize("slices", [1, 2, 5])
def test_what_a_command_teaches_meanwhile_is_not_missed(tmp_path: Path, busy_with: str, slices: int) -> None:
    heads: list[Head | None] = []
    pupil = Pupil(
        "the whole picture",
        lessons(tmp_path),
        lambda head, _of_period: heads.append(head),
        features_of,
        lambda: None,
    )
    teach(lessons(tmp_path), "open")
    pupil.load()
    if busy_with == "a fit":
        finish(pupil)
        pupil.learn("open", shot("open", 2, 1))
    for _ in range(slices):
        pupil.work()
    assert pupil.is_busy
    teach(lessons(tmp_path), "shut")
    finish(pupil)
    pupil.follow_disk()
    finish(pupil)
    assert heads[-1] is not None
    assert heads[-1].labels == ("open", "shut")
    assert pupil.labels == ("open", "shut")


def test_its_own_head_is_not_read_again(tmp_path: Path) -> None:
    pupil = Pupil("the whole picture", lessons(tmp_path), lambda _h, _p: None, features_of, lambda: None)
    pupil.load()
    pupil.learn("open", shot("open", 1, 1))
    finish(pupil)
    assert not pupil.follow_disk()
