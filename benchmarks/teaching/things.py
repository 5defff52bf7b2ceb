"""Things that stand about in the scenes: what is taught, strangers, and distractors.

Each is drawn with the middle of its foot at (x, y), about `size` pixels of the canvas high; `chance` varies
it as such things vary.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from benchmarks.teaching.pen import Chance, Colour, Pen, tinted, varied

Thing = Callable[[Pen, float, float, float, Chance], None]

_DARK: Colour = (34, 34, 38)
_GLASS: Colour = (96, 120, 138)
_PAINTS: tuple[Colour, ...] = (
    (176, 28, 34),
    (36, 68, 140),
    (196, 198, 202),
    (52, 54, 60),
    (232, 232, 230),
    (40, 96, 70),
    (150, 120, 70),
)
_CLOTHES: tuple[Colour, ...] = ((58, 74, 120), (150, 40, 50), (70, 110, 70), (210, 190, 60), (60, 60, 64))


def _pick(colours: tuple[Colour, ...], chance: Chance) -> Colour:
    return varied(colours[int(chance.integers(len(colours)))], chance)


def car(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    paint, s = _pick(_PAINTS, chance), size * float(chance.uniform(0.93, 1.07))
    roof, length = float(chance.uniform(0.9, 1.05)), 1.45
    pen.polygon(
        [
            (x - 0.8 * s, y - 0.6 * s),
            (x - 0.5 * s, y - roof * s),
            (x + 0.35 * s, y - roof * s),
            (x + 0.85 * s, y - 0.58 * s),
        ],
        tinted(paint, 0.85),
    )
    pen.polygon(
        [
            (x - 0.66 * s, y - 0.6 * s),
            (x - 0.45 * s, y - 0.93 * roof * s),
            (x + 0.3 * s, y - 0.93 * roof * s),
            (x + 0.68 * s, y - 0.6 * s),
        ],
        varied(_GLASS, chance),
    )
    pen.box((x - 0.1 * s, y - roof * s, x - 0.04 * s, y - 0.6 * s), tinted(paint, 0.85))
    pen.box((x - length * s, y - 0.62 * s, x + length * s, y - 0.18 * s), paint, round_by=0.14 * s)
    pen.box((x - length * s, y - 0.3 * s, x + length * s, y - 0.18 * s), tinted(paint, 0.6), round_by=4)
    pen.ellipse((x + 1.28 * s, y - 0.52 * s, x + 1.42 * s, y - 0.4 * s), (240, 236, 200))
    for wheel in (-0.9, 0.9):
        pen.disc(x + wheel * s, y - 0.2 * s, 0.24 * s, _DARK)
        pen.disc(x + wheel * s, y - 0.2 * s, 0.12 * s, (150, 150, 156))


def van(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    paint, s = _pick(_PAINTS, chance), size * float(chance.uniform(0.93, 1.07))
    pen.box((x - 1.5 * s, y - 1.7 * s, x + 0.9 * s, y - 0.2 * s), paint, round_by=6)
    pen.polygon(
        [
            (x + 0.85 * s, y - 1.6 * s),
            (x + 1.25 * s, y - 0.9 * s),
            (x + 1.5 * s, y - 0.8 * s),
            (x + 1.5 * s, y - 0.2 * s),
            (x + 0.85 * s, y - 0.2 * s),
        ],
        tinted(paint, 0.92),
    )
    pen.polygon(
        [(x + 0.8 * s, y - 1.5 * s), (x + 1.16 * s, y - 0.9 * s), (x + 0.8 * s, y - 0.9 * s)],
        varied(_GLASS, chance),
    )
    for seam in (-0.7, 0.1):
        pen.line([(x + seam * s, y - 1.62 * s), (x + seam * s, y - 0.3 * s)], tinted(paint, 0.7), 2)
    pen.box((x - 1.5 * s, y - 0.34 * s, x + 1.5 * s, y - 0.2 * s), tinted(paint, 0.55))
    for wheel in (-0.95, 1.0):
        pen.disc(x + wheel * s, y - 0.22 * s, 0.27 * s, _DARK)
        pen.disc(x + wheel * s, y - 0.22 * s, 0.13 * s, (140, 140, 146))


def motorbike(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    paint, s = _pick(_PAINTS, chance), size
    for wheel in (-0.75, 0.75):
        pen.disc(x + wheel * s, y - 0.36 * s, 0.36 * s, _DARK)
        pen.disc(x + wheel * s, y - 0.36 * s, 0.2 * s, (130, 130, 134))
    pen.line([(x - 0.75 * s, y - 0.36 * s), (x, y - 0.6 * s), (x + 0.75 * s, y - 0.36 * s)], _DARK, 0.12 * s)
    pen.ellipse((x - 0.3 * s, y - 0.95 * s, x + 0.35 * s, y - 0.55 * s), paint)
    pen.polygon([(x - 0.8 * s, y - 0.9 * s), (x - 0.2 * s, y - 0.85 * s), (x - 0.3 * s, y - 0.7 * s)], _DARK)
    pen.line(
        [(x + 0.7 * s, y - 0.4 * s), (x + 0.45 * s, y - 1.1 * s), (x + 0.25 * s, y - 1.15 * s)], _DARK, 4
    )


def person(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    top, legs = _pick(_CLOTHES, chance), _pick(_CLOTHES, chance)
    s, stride = size, float(chance.uniform(0.02, 0.12)) * size
    skin = varied((205, 160, 130), chance, 20)
    pen.line([(x - stride, y), (x, y - 0.48 * s)], legs, 0.11 * s)
    pen.line([(x + stride, y), (x, y - 0.48 * s)], tinted(legs, 0.85), 0.11 * s)
    pen.box((x - 0.13 * s, y - 0.84 * s, x + 0.13 * s, y - 0.44 * s), top, round_by=0.05 * s)
    pen.line([(x - 0.14 * s, y - 0.8 * s), (x - 0.19 * s - stride, y - 0.5 * s)], tinted(top, 0.8), 0.07 * s)
    pen.line([(x + 0.14 * s, y - 0.8 * s), (x + 0.17 * s + stride, y - 0.52 * s)], tinted(top, 0.8), 0.07 * s)
    pen.disc(x, y - 0.92 * s, 0.08 * s, skin)
    pen.ellipse((x - 0.085 * s, y - 1.01 * s, x + 0.085 * s, y - 0.91 * s), varied((70, 50, 36), chance))


def _animal(pen: Pen, x: float, y: float, s: float, coat: Colour, *, long_legs: float, snout: float) -> None:
    """Four legs, a trunk and a head to the right."""
    belly = y - long_legs * s
    for leg in (-0.48, -0.36, 0.3, 0.42):
        pen.line([(x + leg * s, y), (x + leg * s, belly - 0.1 * s)], tinted(coat, 0.8), 0.1 * s)
    pen.ellipse((x - 0.6 * s, belly - 0.42 * s, x + 0.55 * s, belly + 0.06 * s), coat)
    pen.polygon(
        [(x + 0.3 * s, belly - 0.3 * s), (x + 0.5 * s, belly - 0.7 * s), (x + 0.6 * s, belly - 0.1 * s)], coat
    )
    pen.disc(x + 0.6 * s, belly - 0.58 * s, 0.2 * s, tinted(coat, 1.08))
    if snout:
        head = (x + 0.62 * s, belly - 0.62 * s, x + (0.78 + snout) * s, belly - 0.44 * s)
        pen.ellipse(head, tinted(coat, 1.0))
        pen.disc(x + (0.76 + snout) * s, belly - 0.55 * s, 0.04 * s, _DARK)


def cat(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    """The same cat each time: ginger, with stripes; sitting or standing."""
    s, coat = size, varied((206, 128, 62), chance, 6)
    if chance.random() < 0.5:  # sitting
        pen.ellipse((x - 0.32 * s, y - 0.75 * s, x + 0.32 * s, y), coat)
        for stripe in (0.25, 0.4, 0.55):
            pen.line(
                [(x - 0.24 * s, y - stripe * s), (x - 0.05 * s, y - (stripe + 0.04) * s)], (130, 76, 36), 3
            )
        pen.disc(x, y - 0.82 * s, 0.23 * s, tinted(coat, 1.06))
        middle, head = x, y - 0.82 * s
        pen.line(
            [(x + 0.25 * s, y - 0.1 * s), (x + 0.6 * s, y - 0.04 * s), (x + 0.68 * s, y - 0.3 * s)], coat, 7
        )
        pen.ellipse((x - 0.12 * s, y - 0.5 * s, x + 0.12 * s, y - 0.08 * s), (238, 222, 200))
    else:
        _animal(pen, x, y, s, coat, long_legs=0.28, snout=0)
        for stripe in (-0.35, -0.15, 0.05, 0.25):
            pen.line(
                [(x + stripe * s, y - 0.68 * s), (x + (stripe + 0.03) * s, y - 0.42 * s)], (130, 76, 36), 3
            )
        pen.line(
            [(x - 0.55 * s, y - 0.5 * s), (x - 0.8 * s, y - 0.8 * s), (x - 0.75 * s, y - 1.05 * s)], coat, 7
        )
        middle, head = x + 0.6 * s, y - 0.86 * s
    for side in (-1, 1):
        pen.polygon(
            [
                (middle + side * 0.2 * s, head - 0.06 * s),
                (middle + side * 0.17 * s, head - 0.34 * s),
                (middle + side * 0.02 * s, head - 0.18 * s),
            ],
            tinted(coat, 0.9),
        )
        pen.disc(middle + side * 0.08 * s, head - 0.02 * s, 0.035 * s, (60, 110, 50))
    pen.disc(middle, head + 0.06 * s, 0.025 * s, (190, 110, 110))


def dog(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    """The same dog each time: dark brown, with hanging ears."""
    s, coat = 1.15 * size, varied((84, 58, 42), chance, 6)
    _animal(pen, x, y, s, coat, long_legs=0.45, snout=0.2)
    pen.ellipse((x + 0.4 * s, y - 1.1 * s, x + 0.56 * s, y - 0.78 * s), tinted(coat, 0.6))
    pen.disc(x + 0.66 * s, y - 1.06 * s, 0.03 * s, (15, 12, 10))
    tail = float(chance.uniform(0.8, 1.2))
    pen.line([(x - 0.55 * s, y - 0.75 * s), (x - 0.85 * s, y - tail * s)], coat, 0.08 * s)
    pen.line([(x + 0.34 * s, y - 0.8 * s), (x + 0.58 * s, y - 0.72 * s)], (180, 40, 40), 4)


def parrot(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s = size
    pen.ellipse((x - 0.2 * s, y - 0.8 * s, x + 0.22 * s, y - 0.1 * s), varied((40, 160, 60), chance))
    pen.polygon([(x - 0.15 * s, y - 0.3 * s), (x - 0.45 * s, y + 0.05 * s), (x, y - 0.15 * s)], (30, 90, 160))
    pen.ellipse((x - 0.16 * s, y - 0.65 * s, x + 0.05 * s, y - 0.2 * s), (30, 110, 170))
    pen.disc(x + 0.12 * s, y - 0.85 * s, 0.17 * s, (210, 60, 40))
    pen.polygon(
        [(x + 0.24 * s, y - 0.92 * s), (x + 0.4 * s, y - 0.78 * s), (x + 0.22 * s, y - 0.76 * s)],
        (240, 220, 160),
    )
    pen.disc(x + 0.14 * s, y - 0.88 * s, 0.03 * s, _DARK)


def box(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    """A cardboard box."""
    s, side = size, varied((176, 138, 92), chance)
    wide = float(chance.uniform(0.5, 0.75)) * s
    pen.box((x - wide, y - 0.8 * s, x + wide, y), side)
    pen.polygon(
        [(x - wide, y - 0.8 * s), (x - 0.7 * wide, y - s), (x + 1.2 * wide, y - s), (x + wide, y - 0.8 * s)],
        tinted(side, 1.15),
    )
    pen.polygon(
        [(x + wide, y - 0.8 * s), (x + 1.2 * wide, y - s), (x + 1.2 * wide, y - 0.2 * s), (x + wide, y)],
        tinted(side, 0.75),
    )
    pen.box((x - 0.1 * s, y - 0.8 * s, x + 0.1 * s, y), (208, 186, 140))


def plant(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s = size
    for _ in range(16):
        dx, dy = chance.normal(0, 0.22) * s, chance.uniform(0.4, 1.0) * s
        tip = (x + 1.6 * dx, y - dy)
        pen.line([(x, y - 0.35 * s), (x + dx, y - 0.85 * dy), tip], varied((60, 120, 50), chance), 0.06 * s)
        pen.disc(*tip, 0.07 * s, varied((74, 140, 58), chance))
    pen.polygon(
        [(x - 0.25 * s, y - 0.4 * s), (x + 0.25 * s, y - 0.4 * s), (x + 0.17 * s, y), (x - 0.17 * s, y)],
        varied((170, 88, 58), chance),
    )


def suitcase(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, shell = size, varied((60, 120, 150), chance, 30)
    pen.line(
        [
            (x - 0.15 * s, y - 0.75 * s),
            (x - 0.15 * s, y - s),
            (x + 0.15 * s, y - s),
            (x + 0.15 * s, y - 0.75 * s),
        ],
        _DARK,
        5,
    )
    pen.box((x - 0.32 * s, y - 0.8 * s, x + 0.32 * s, y - 0.06 * s), shell, round_by=0.06 * s)
    for rib in (-0.2, -0.07, 0.07, 0.2):
        pen.line([(x + rib * s, y - 0.76 * s), (x + rib * s, y - 0.1 * s)], tinted(shell, 0.75), 3)
    for wheel in (-0.24, 0.24):
        pen.disc(x + wheel * s, y - 0.04 * s, 0.05 * s, _DARK)


def bags(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    """A heap of rubbish bags."""
    for _ in range(5):
        dx, r = chance.normal(0, 0.3) * size, chance.uniform(0.22, 0.36) * size
        shade = varied((56, 58, 66), chance, 8)
        pen.ellipse((x + dx - r, y - 1.5 * r, x + dx + r, y), shade)
        pen.polygon(
            [(x + dx - 0.1 * r, y - 1.8 * r), (x + dx + 0.2 * r, y - 1.8 * r), (x + dx, y - 1.3 * r)],
            tinted(shade, 1.4),
        )
        pen.line([(x + dx - 0.5 * r, y - r), (x + dx + 0.3 * r, y - 0.5 * r)], tinted(shade, 1.7), 2)


def sand(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    """A heap of sand with a shovel in it."""
    s, colour = size, varied((196, 170, 118), chance)
    pen.polygon(
        [(x - 1.3 * s, y), (x - 0.3 * s, y - 0.9 * s), (x + 0.2 * s, y - s), (x + 1.3 * s, y)], colour
    )
    pen.polygon([(x + 0.2 * s, y - s), (x + 1.3 * s, y), (x + 0.3 * s, y)], tinted(colour, 0.78))
    pen.line([(x - 0.5 * s, y - 0.5 * s), (x - 0.8 * s, y - 1.5 * s)], (120, 86, 54), 6)


def tent(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, cloth = size, varied((220, 130, 40), chance, 20)
    pen.polygon([(x - 1.2 * s, y), (x - 0.1 * s, y - 1.2 * s), (x + 1.2 * s, y)], cloth)
    pen.polygon([(x - 0.1 * s, y - 1.2 * s), (x + 0.5 * s, y), (x - 0.3 * s, y)], tinted(cloth, 0.55))
    pen.line([(x - 0.1 * s, y - 1.2 * s), (x - 1.4 * s, y + 4)], (220, 220, 210), 2)


def skip(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    """A builder's container with rubble in it."""
    s, paint = size, varied((214, 170, 30), chance, 14)
    for _ in range(9):
        pen.disc(
            x + chance.normal(0, 0.6) * s,
            y - chance.uniform(0.75, 1.1) * s,
            chance.uniform(0.1, 0.2) * s,
            varied((130, 120, 110), chance, 20),
        )
    pen.polygon(
        [(x - 1.4 * s, y - 0.85 * s), (x + 1.4 * s, y - 0.85 * s), (x + 1.05 * s, y), (x - 1.05 * s, y)],
        paint,
    )
    for rib in (-0.7, 0.0, 0.7):
        pen.line([(x + rib * s, y - 0.85 * s), (x + 0.8 * rib * s, y)], tinted(paint, 0.7), 6)


def ladder(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, lean, metal = size, float(chance.uniform(-0.12, 0.12)) * size, varied((190, 192, 198), chance)
    for side in (-0.17, 0.17):
        pen.line([(x + side * s, y), (x + side * s + lean, y - 1.3 * s)], metal, 0.06 * s)
    for rung in range(1, 10):
        share = rung / 10
        left = x - 0.17 * s + lean * share
        pen.line(
            [(left, y - 1.3 * share * s), (left + 0.34 * s, y - 1.3 * share * s)],
            tinted(metal, 0.85),
            0.04 * s,
        )


def tarp(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    """Something under a blue sheet."""
    s, cloth = size, varied((40, 84, 160), chance)
    points = [
        (x + share * 0.6 * s, y - (1 - abs(share) ** 3 * 0.3) * s) for share in (-1, -0.6, -0.2, 0.2, 0.6, 1)
    ]
    pen.polygon([(x - 0.66 * s, y), *points, (x + 0.68 * s, y)], cloth)
    for fold in (-0.4, -0.1, 0.25, 0.5):
        wave = float(chance.normal(0, 0.06))
        pen.line([(x + fold * s * 0.9, y - 0.92 * s), (x + (fold + wave) * s, y)], tinted(cloth, 0.7), 4)


def wreath(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s = size
    for angle in range(0, 628, 16):
        dx, dy = float(math.cos(angle / 100)), float(math.sin(angle / 100))
        r = (0.38 + chance.normal(0, 0.03)) * s
        pen.disc(x + dx * r, y - 0.5 * s + dy * r, 0.11 * s, varied((40, 104, 48), chance, 16))
    for angle in (30, 190, 340, 480):
        pen.disc(
            x + math.cos(angle / 100) * 0.38 * s,
            y - 0.5 * s + math.sin(angle / 100) * 0.38 * s,
            0.06 * s,
            (190, 30, 34),
        )


def bicycle(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, paint = size, _pick(_PAINTS, chance)
    for wheel in (-0.55, 0.55):
        for radius, colour in ((0.36, _DARK), (0.31, (146, 150, 146))):
            pen.disc(x + wheel * s, y - 0.36 * s, radius * s, colour)
    frame = [(-0.55, 0.36), (-0.2, 0.85), (0.35, 0.8), (0.55, 0.36), (0.35, 0.8), (0.0, 0.36), (-0.2, 0.85)]
    pen.line([(x + dx * s, y - dy * s) for dx, dy in frame], paint, 4)
    pen.line([(x + 0.3 * s, y - 0.98 * s), (x + 0.45 * s, y - s)], _DARK, 4)


def ball(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    colour = varied((220, 70, 60), chance, 40)
    pen.disc(x, y - 0.5 * size, 0.5 * size, colour)
    pen.disc(x - 0.12 * size, y - 0.64 * size, 0.16 * size, tinted(colour, 1.3))


def bottle(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, glass = size, varied((40, 100, 60), chance, 30)
    pen.box((x - 0.15 * s, y - 0.65 * s, x + 0.15 * s, y), glass, round_by=4)
    pen.box((x - 0.06 * s, y - s, x + 0.06 * s, y - 0.6 * s), glass)
    pen.box((x - 0.15 * s, y - 0.45 * s, x + 0.15 * s, y - 0.15 * s), (230, 222, 196))
