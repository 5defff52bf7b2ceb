"""A scene to train on: a pressure gauge in a boiler room, of which only the place of a thin needle counts.

What a taught head reads of ImageNet's features says that there is a dial, and little of where its needle is.
"""

from __future__ import annotations

import math

from benchmarks.teaching import things
from benchmarks.teaching.day import Light
from benchmarks.teaching.pen import HEIGHT, WIDTH, Chance, Pen, bricks, grain, tinted, varied
from benchmarks.teaching.scene import Scene, State

_X, _Y, _RADIUS = 400, 300, 84
_MOST_BAR = 4.0
_FIRST_DEG, _SWEEP_DEG = 135.0, 270.0  # clockwise, from the right
_UNCLEAR_BAR = 0.12
"""Nearer to a limit nobody would say which side of it the needle is on."""


def _boiler_room(pen: Pen, chance: Chance) -> None:
    pen.texture((0, 0, WIDTH, HEIGHT), bricks(chance, 60, 24), (196, 192, 184))
    pen.texture((0, 540, WIDTH, HEIGHT), grain(chance, 0.05), (120, 118, 114))
    pen.box((60, 120, 260, 540), (214, 216, 220), round_by=12)
    pen.box((90, 160, 230, 230), (60, 66, 74), round_by=4)
    for y, colour in ((440, (176, 104, 64)), (480, (150, 152, 156))):
        pen.line([(260, y), (WIDTH, y)], colour, 14)
        pen.line([(260, y - 4), (WIDTH, y - 4)], tinted(colour, 1.25), 3)
    pen.line([(_X, 440), (_X, _Y)], (176, 104, 64), 18)
    pen.box((620, 60, 760, 300), (232, 230, 224))


def _towards(bar: float, reach: float) -> tuple[float, float]:
    """The point of the dial at that pressure, so far from the middle."""
    angle = math.radians(_FIRST_DEG + _SWEEP_DEG * bar / _MOST_BAR)
    return _X + reach * math.cos(angle), _Y + reach * math.sin(angle)


def _needle(lowest: float, highest: float) -> State:
    """The gauge, its needle anywhere between two pressures, in bar."""

    def draw(pen: Pen, _: Light, chance: Chance) -> None:
        bar = float(chance.uniform(lowest + _UNCLEAR_BAR, highest - _UNCLEAR_BAR))
        pen.disc(_X, _Y, _RADIUS + 8, (70, 72, 76))
        pen.disc(_X, _Y, _RADIUS, varied((236, 236, 230), chance, 4))
        for tick in range(17):
            inner = 62 if tick % 4 == 0 else 70
            pen.line([_towards(tick / 4, inner), _towards(tick / 4, 78)], (40, 40, 42), 3)
        pen.line([_towards(bar + _MOST_BAR * 180 / _SWEEP_DEG, 18), _towards(bar, 66)], (30, 30, 32), 5)
        pen.disc(_X, _Y, 8, (30, 30, 32))

    return draw


GAUGE = Scene(
    "gauge",
    (300, 200, 500, 400),
    {"high": _needle(2.5, 4.0), "low": _needle(0.0, 1.0), "normal": _needle(1.0, 2.5)},
    {},
    _boiler_room,
    clutter=(things.person, things.box, things.bottle, things.suitcase),
    is_indoors=True,
)
