"""Draws on a canvas, and makes the textures that surfaces have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 800, 600
"""The canvas, in its own pixels; the camera takes a smaller picture of it, which smooths edges."""

Colour = tuple[float, float, float]
"""Red, green, blue, 0 to 255."""
Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the canvas."""
Chance = np.random.Generator


class Pen:
    """Draws filled shapes; what is drawn later covers what was drawn before."""

    def __init__(self, canvas: Image.Image) -> None:
        self.canvas = canvas
        self._draw = ImageDraw.Draw(canvas)

    def box(self, box: Box, colour: Colour, *, round_by: float = 0) -> None:
        self._draw.rounded_rectangle(_ordered(box), round_by, fill=_fill(colour))

    def ellipse(self, box: Box, colour: Colour) -> None:
        self._draw.ellipse(_ordered(box), fill=_fill(colour))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.ellipse((x - radius, y - radius, x + radius, y + radius), colour)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon(list(points), fill=_fill(colour))

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        self._draw.line(list(points), fill=_fill(colour), width=max(round(width), 1), joint="curve")

    def texture(self, box: Box, pattern: NDArray[np.float32], colour: Colour) -> None:
        """Fill a box with a colour times the pattern, shape (HEIGHT, WIDTH), around 1."""
        left, top, right, bottom = (round(side) for side in _ordered(box))
        part = pattern[top:bottom, left:right, None] * np.array(colour, np.float32)
        self.canvas.paste(Image.fromarray(np.clip(part, 0, 255).astype(np.uint8)), (left, top))


def tinted(colour: Colour, by: float) -> Colour:
    """The colour lighter (`by` above 1) or darker."""
    red, green, blue = colour
    return (red * by, green * by, blue * by)


def varied(colour: Colour, chance: Chance, by: float = 12.0) -> Colour:
    """The colour somewhat changed."""
    red, green, blue = np.asarray(colour) + chance.normal(0, by, 3)
    return (float(red), float(green), float(blue))


def grain(chance: Chance, strength: float, *, scales: Sequence[int] = (2, 8, 40)) -> NDArray[np.float32]:
    """Blotches of several sizes, shape (HEIGHT, WIDTH), around 1."""
    found = np.ones((HEIGHT, WIDTH), np.float32)
    for scale in scales:
        small = chance.normal(0, strength, (HEIGHT // scale + 2, WIDTH // scale + 2)).astype(np.float32)
        image = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        found += np.asarray(image, np.float32)
    return found


def bricks(chance: Chance, width: int = 34, height: int = 14) -> NDArray[np.float32]:
    """Courses of bricks with darker joints, shape (HEIGHT, WIDTH), around 1."""
    rows, columns = HEIGHT // height + 2, WIDTH // width + 3
    shades = 1 + chance.normal(0, 0.09, (rows, columns)).astype(np.float32)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    row = y // height
    shifted = x + (row % 2) * (width // 2)
    found = shades[row, shifted // width] * grain(chance, 0.03)
    found[(y % height < 2) | (shifted % width < 2)] *= 0.72
    return np.asarray(found, np.float32)


def planks(chance: Chance, width: int = 28, *, upright: bool = True) -> NDArray[np.float32]:
    """Planks with dark gaps, shape (HEIGHT, WIDTH), around 1."""
    side = np.arange(WIDTH if upright else HEIGHT)
    shade = (1 + chance.normal(0, 0.08, len(side) // width + 1))[side // width]
    shade[side % width < 2] *= 0.6
    across = shade[None, :] if upright else shade[:, None]
    found: NDArray[np.float32] = (grain(chance, 0.03, scales=(2, 20)) * across).astype(np.float32)
    return found


def _ordered(box: Box) -> Box:
    left, top, right, bottom = box
    return (min(left, right), min(top, bottom), max(left, right), max(top, bottom))


def _fill(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (min(max(round(part), 0), 255) for part in colour)
    return (red, green, blue)
