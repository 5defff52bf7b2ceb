"""The newest frame for the page: how large it is, and how often it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from edge_agent.daemon.newest_picture import NewestPicture, shrunk
from edge_agent.frame import Frame
from edge_agent.system.clock import Clock


@pytest.mark.parametrize(
    ("width", "shape"), [(640, (480, 640, 3)), (320, (240, 320, 3)), (100, (75, 100, 3))]
)
def test_a_frame_is_made_no_larger_than_asked_for(width: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.zeros((480, 640, 3), np.uint8)
    made = shrunk(pixels, width)
    assert made.shape == shape
    Image.fromarray(made).save(tmp_path / "frame.jpg")


@dataclass
class Watch:
    """A clock that is ahead by `cost_s` every second time that it is looked at."""

    cost_s: float
    now_s: float = 0.0
    looks: int = 0

    def monotonic_s(self) -> float:
        self.looks += 1
        return self.now_s + (self.cost_s if self.looks % 2 == 0 else 0.0)


@pytest.mark.parametrize(("cost_s", "made"), [(0.001, 47), (0.012, 17), (0.2, 10)])
def test_it_is_made_once_for_all_and_more_rarely_where_it_takes_long(cost_s: float, made: int) -> None:
    watch = Watch(cost_s)
    newest = NewestPicture(cast(Clock, watch))
    found: set[int] = set()
    for number in range(100):  # of ten seconds
        frame = Frame(number, 0.0, 0.0, np.zeros((48, 64, 3), np.uint8))
        for _ in range(5):
            watch.now_s, watch.looks = number / 10 + 0.001, 0
            found.add(newest.picture(frame, 640).frame_id)
    assert len(found) in range(made - 3, made + 4)
