"""Pictures on disk, and a source that follows a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.frame import Frame

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain_picture(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (64, 48)) -> Path:
    """Write a picture of one colour, in the format that the suffix says."""
    Image.new("RGB", size, colour).save(path)
    return path


def pixels_of(colour: tuple[int, int, int], width: int = 8, height: int = 6) -> NDArray[np.uint8]:
    return np.full((height, width, 3), colour, np.uint8)


Step = Frame | Exception | None


class ScriptedSource:
    """Gives the frames, errors and end of its script, one a read; counts how it was used."""

    def __init__(
        self,
        script: Sequence[Step],
        clock: Callable[[], float],
        *,
        live: bool = True,
        open_errors: Sequence[Exception | None] = (),
        name: str = "scripted",
    ) -> None:
        self._script = iter(script)
        self._open_errors = iter(open_errors)
        self._clock = clock
        self._live = live
        self._name = name
        self.opened = 0
        self.closed = 0
        self.is_open = False

    @property
    def live(self) -> bool:
        return self._live

    @property
    def description(self) -> str:
        return self._name

    def open(self) -> None:
        assert not self.is_open, "opened twice"
        if (error := next(self._open_errors, None)) is not None:
            raise error
        self.opened += 1
        self.is_open = True

    def read(self) -> Frame | None:
        assert self.is_open, "read while closed"
        step = next(self._script, None)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closed += self.is_open
        self.is_open = False


def frame(number: int, captured_s: float = 0.0) -> Frame:
    return Frame(number, captured_s, 1.0, pixels_of(RED))


def frames(first: int, last: int) -> list[Frame]:
    return [frame(number) for number in range(first, last + 1)]


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Deaf:
    """A capture observer that does not care."""

    def captured(self) -> None:
        pass

    def discarded(self) -> None:
        pass

    def idle(self) -> None:
        pass
