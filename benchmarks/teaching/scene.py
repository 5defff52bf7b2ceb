"""What a scene is, and how a frame of it is rendered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.teaching import things
from benchmarks.teaching.camera import WHOLE, Pixels, Window, develop, seen_at
from benchmarks.teaching.day import Day, Light, day_of, light_at
from benchmarks.teaching.pen import HEIGHT, WIDTH, Box, Chance, Pen, varied
from benchmarks.teaching.things import Thing

OCCLUDED = 0.05
"""The share of frames in which something hides a part of the region."""

State = Callable[[Pen, Light, Chance], None]
"""Draws the region's state; what it draws is the same in the frames of one visit."""


@dataclass(frozen=True)
class Scene:
    """A camera that looks at something with several states."""

    name: str
    region: Box
    """What an owner would mark, in pixels of the canvas."""
    states: Mapping[str, State]
    strangers: Mapping[str, State]
    """What is never taught, and is to be taken for unknown."""
    background: Callable[[Pen, Chance], None]
    """The same on all days."""
    clutter: tuple[Thing, ...] = (things.person, things.bicycle, things.box, things.ball)
    """What stands about outside the region."""
    is_indoors: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(sorted(self.states))

    @property
    def window(self) -> Window:
        """The region in the camera's picture."""
        return seen_at(self.region)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a frame is taken, and of what."""

    state: str
    """A state or a stranger of the scene."""
    day: int
    hour: float
    visit: int = 0
    """Within one visit a thing does not move: a burst of frames is of one."""
    number: int = 0
    """Of the frame within the burst."""


def render(scene: Scene, moment: Moment, window: Window = WHOLE) -> Pixels:
    """The frame, shape (480, 640, 3), RGB, or a part of it: the same for the same moment."""
    day = day_of(scene.name, moment.day)
    light = light_at(day, moment.hour)
    canvas = _background(scene).copy()
    pen = Pen(canvas)
    draw = scene.states.get(moment.state) or scene.strangers[moment.state]
    kind = sorted([*scene.states, *scene.strangers]).index(moment.state)
    if day.weather == "snow" and not scene.is_indoors:
        _lay_snow(pen, day)
    _put_clutter(pen, scene, day, moment.hour)
    draw(pen, light, day.chance(3, kind, moment.visit))
    chance = day.chance(4, kind, moment.visit, moment.number, round(moment.hour * 3600))
    if chance.random() < OCCLUDED:
        _occlude(pen, scene.region, chance)
    return develop(canvas, day, light, chance, is_indoors=scene.is_indoors, window=window)


def cut(scene: Scene, frame: Pixels) -> Pixels:
    """The region of a frame."""
    left, top, right, bottom = scene.window
    return frame[top:bottom, left:right]


@cache
def _canvas(name: str, background: Callable[[Pen, Chance], None]) -> Image.Image:
    canvas = Image.new("RGB", (WIDTH, HEIGHT))
    background(Pen(canvas), np.random.default_rng(int.from_bytes(name.encode(), "little") % (1 << 31)))
    return canvas


def _background(scene: Scene) -> Image.Image:
    return _canvas(scene.name, scene.background)


def _put_clutter(pen: Pen, scene: Scene, day: Day, hour: float) -> None:
    """Things of the day, and people who pass: beside the region, in front of the rest."""
    part = int(hour // 3)
    for chance in (day.chance(5), day.chance(6, part)):
        for _ in range(int(chance.integers(1, 4))):
            thing = scene.clutter[int(chance.integers(len(scene.clutter)))]
            size = float(chance.uniform(45, 110))
            x, y = _beside(scene.region, size, chance)
            thing(pen, x, y, size, chance)


def _beside(region: Box, size: float, chance: Chance) -> tuple[float, float]:
    """A place on the ground so far from the region that nothing reaches into it."""
    left, _, right, _ = region
    room = 1.1 * size
    before, behind = max(left - room, 0), max(WIDTH - right - room, 0)
    at = float(chance.uniform(0, before + behind + 1))
    x = at if at < before else right + room + at - before
    return x, float(chance.uniform(0.72, 0.98)) * HEIGHT


def _occlude(pen: Pen, region: Box, chance: Chance) -> None:
    """Hide a tenth to a third of the region: a twig, a sleeve, or a drop on the lens."""
    left, top, right, bottom = region
    width, height = right - left, bottom - top
    kind = int(chance.integers(3))
    if kind == 0:
        x, y = left + width * chance.uniform(-0.05, 0.4), top - 10.0
        for _ in range(26):
            x, y = x + float(chance.uniform(-0.02, 0.07)) * width, y + 0.025 * height
            pen.ellipse((x, y, x + 0.13 * width, y + 0.06 * height), varied((58, 104, 44), chance, 16))
    elif kind == 1:
        side = left if chance.random() < 0.5 else right
        reach = width * chance.uniform(0.12, 0.28)
        colour = varied((70, 74, 96), chance, 30)
        pen.box(
            (side - reach, top + chance.uniform(0, 0.4) * height, side + reach, bottom + 60),
            colour,
            round_by=20,
        )
    else:
        x, y = left + chance.uniform(0.15, 0.85) * width, top + chance.uniform(0.15, 0.85) * height
        _smear(pen.canvas, float(x), float(y), float(chance.uniform(0.16, 0.24)) * width)


def _smear(canvas: Image.Image, x: float, y: float, radius: float) -> None:
    """A drop on the lens: what is behind it, blurred."""
    box = (round(x - radius), round(y - radius), round(x + radius), round(y + radius))
    behind = canvas.crop(box).filter(ImageFilter.GaussianBlur(9))
    shape = Image.new("L", behind.size, 0)
    ImageDraw.Draw(shape).ellipse((0, 0, *behind.size), fill=255)
    canvas.paste(behind, box[:2], shape.filter(ImageFilter.GaussianBlur(3)))


def _lay_snow(pen: Pen, day: Day) -> None:
    """A white cover on the ground, in patches."""
    for x, y, width in day.chance(7).uniform((0, 0.62 * HEIGHT, 60), (WIDTH, HEIGHT, 200), (26, 3)):
        pen.ellipse((x - width, y - 0.12 * width, x + width, y + 0.12 * width), (226, 230, 238))
