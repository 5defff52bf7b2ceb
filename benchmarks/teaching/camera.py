"""Makes a camera's picture of a canvas: shadows, weather, movement, colour, night, noise."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.teaching.day import Day, Light
from benchmarks.teaching.pen import HEIGHT, WIDTH, Box, Chance, Pen

FRAME_WIDTH, FRAME_HEIGHT = 640, 480
"""The camera's picture, in pixels."""

Pixels = NDArray[np.uint8]
Window = tuple[int, int, int, int]
"""Left, top, right, bottom of a part of the camera's picture."""
WHOLE: Window = (0, 0, FRAME_WIDTH, FRAME_HEIGHT)

_Floats = NDArray[np.float32]

_SMALL = 4  # shadows are drawn at a quarter of the size
_SHAKE = 1.3
_SEEN = 0.95  # the share of the canvas that a camera which hangs straight sees
_SCALE = _SEEN * WIDTH / FRAME_WIDTH
_UNSHARP = 0.05  # the share of frames that are
_NIGHT_NOISE = 8.0  # 20 dB, as cameras have at night after their own smoothing


def develop(
    canvas: Image.Image, day: Day, light: Light, chance: Chance, *, is_indoors: bool, window: Window = WHOLE
) -> Pixels:
    """The part of the picture that is in the window, RGB, shape (height, width, 3)."""
    if not is_indoors:
        _add_weather(canvas, day, chance)
    seen = _moved(canvas, day, chance, window)
    seen *= _illumination(day, light, chance, is_indoors=is_indoors, window=window)
    if light.is_night and not is_indoors:
        return _by_infrared(seen, chance, window)
    if light.is_night:
        return _noisy(
            _coloured(seen, 0.8 + 0.4 * day.warmth, 0.55 * day.exposure), _NIGHT_NOISE, chance, window
        )
    low_sun = 0.8 * max(0.35 - light.sun, 0.0) / 0.35 * (day.weather == "clear")
    strength = day.exposure * float(chance.uniform(0.92, 1.08)) * (0.75 + 0.3 * light.sun)
    if day.weather == "fog" and not is_indoors:
        seen += (190.0 - seen) * np.float32(0.45)
    return _noisy(
        _coloured(seen, day.warmth + low_sun, strength), 3.0 + 3.0 * (1 - light.sun), chance, window
    )


def seen_at(box: Box) -> Window:
    """Where a box of the canvas is in the picture of a camera that hangs straight."""
    left, top, right, bottom = box
    x, y = FRAME_WIDTH / 2, FRAME_HEIGHT / 2
    return (
        round(x + (left - WIDTH / 2) / _SCALE),
        round(y + (top - HEIGHT / 2) / _SCALE),
        round(x + (right - WIDTH / 2) / _SCALE),
        round(y + (bottom - HEIGHT / 2) / _SCALE),
    )


def _moved(canvas: Image.Image, day: Day, chance: Chance, window: Window) -> _Floats:
    """What the camera sees of the canvas on this day, with one shake."""
    angle = math.radians(day.turn_deg + float(chance.normal(0, 0.1)))
    scale = _SCALE / day.zoom
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    dx = day.shift[0] + float(chance.normal(0, _SHAKE))
    dy = day.shift[1] + float(chance.normal(0, _SHAKE))
    left, top, right, bottom = window
    x, y = FRAME_WIDTH / 2 - left, FRAME_HEIGHT / 2 - top
    matrix = (cos, -sin, WIDTH / 2 + dx - cos * x + sin * y, sin, cos, HEIGHT / 2 + dy - sin * x - cos * y)
    size = (right - left, bottom - top)
    if chance.random() < _UNSHARP:
        canvas = canvas.filter(ImageFilter.BoxBlur(1.5))
    seen = canvas.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.array(seen, np.float32)


def _illumination(day: Day, light: Light, chance: Chance, *, is_indoors: bool, window: Window) -> _Floats:
    """Shadows that move with the sun, and a side that is brighter; shape (height, width, 1), about 0 to 1."""
    left, top, right, bottom = window
    mask = _shadows(day, light, is_indoors=is_indoors)
    part = (left / _SMALL, top / _SMALL, right / _SMALL, bottom / _SMALL)
    shadow = np.asarray(
        mask.resize((right - left, bottom - top), Image.Resampling.BILINEAR, part), np.float32
    )
    slope = float(chance.normal(0, 0.04)) + 0.12 * light.sun_x
    side = 1 + slope * np.linspace(-1, 1, FRAME_WIDTH, dtype=np.float32)[left:right]
    found: _Floats = (shadow * (side / np.float32(255))[None, :])[:, :, None]
    return found


def _shadows(day: Day, light: Light, *, is_indoors: bool) -> Image.Image:
    """White where there is none: crowns of trees or bars of a window, and the edge of a house."""
    depth = {"clear": 0.55, "snow": 0.2}.get(day.weather, 0.1) * (0.0 if light.is_night else 1.0)
    width, height = FRAME_WIDTH // _SMALL, FRAME_HEIGHT // _SMALL
    mask = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(mask)
    fixed, today = np.random.default_rng(7 + is_indoors), day.chance(2)
    slide = 55 * light.sun_x + float(today.normal(0, 12))
    dark = round(255 * (1 - depth))
    for _ in range(5):
        x, y = fixed.uniform(0, width) + slide, fixed.uniform(0, height) - 8 * light.sun
        if is_indoors:
            draw.polygon([(x, 0), (x + 14, 0), (x + 14 + slide, height), (x + slide, height)], fill=dark)
            continue
        for _ in range(6):
            dx, dy, r = fixed.normal(0, 9), fixed.normal(0, 6), fixed.uniform(4, 12)
            draw.ellipse((x + dx - r, y + dy - r, x + dx + r, y + dy + r), fill=dark)
    edge = today.uniform(-0.3, 1.3) * width + slide
    draw.polygon([(edge, height), (edge + 60, height * 0.35), (edge + 120, height)], fill=dark)
    return mask.filter(ImageFilter.GaussianBlur(1.0 if day.weather == "clear" else 6.0))


def _coloured(seen: _Floats, warmth: float, strength: float) -> _Floats:
    seen *= np.array([1 + 0.16 * warmth, 1.0, 1 - 0.2 * warmth], np.float32) * np.float32(strength)
    return seen


def _by_infrared(seen: _Floats, chance: Chance, window: Window) -> Pixels:
    """Grey and noisy, brighter in the middle than at the rim; plants are bright, as they are in infrared."""
    left, top, right, bottom = window
    grey: _Floats = seen @ np.array([0.35, 0.85, -0.2], np.float32)
    grey *= _vignette()[top:bottom, left:right] * np.float32(chance.uniform(0.55, 0.8))
    return np.repeat(_noisy(grey[:, :, None], _NIGHT_NOISE, chance, window), 3, axis=2)


@cache
def _vignette() -> _Floats:
    y, x = np.mgrid[-1 : 1 : FRAME_HEIGHT * 1j, -1 : 1 : FRAME_WIDTH * 1j]
    found: _Floats = (1.25 / (1 + 0.9 * (x**2 + y**2))).astype(np.float32)
    return found


@cache
def _noise() -> _Floats:
    """Noise as a sensor gives it after its own smoothing; pictures take it from different places."""
    raw = np.random.default_rng(99).standard_normal((FRAME_HEIGHT + 128, FRAME_WIDTH + 128, 3), np.float32)
    raw[1:] += 0.5 * raw[:-1]
    raw[:, 1:] += 0.5 * raw[:, :-1]
    return raw / np.float32(raw.std())


def _noisy(seen: _Floats, strength: float, chance: Chance, window: Window) -> Pixels:
    left, top, right, bottom = window
    y, x = (int(place) for place in chance.integers(0, 128, 2))
    noise = _noise()[y + top : y + bottom, x + left : x + right, : seen.shape[2]]
    seen += np.float32(strength) * noise
    return np.clip(seen, 0, 255, out=seen).astype(np.uint8)


def _add_weather(canvas: Image.Image, day: Day, chance: Chance) -> None:
    pen = Pen(canvas)
    if day.weather == "rain":
        for x, y, length in chance.uniform((0, 0, 8), (WIDTH, HEIGHT, 26), (160, 3)):
            pen.line([(x, y), (x - 0.15 * length, y + length)], (172, 178, 186), 1)
    if day.weather == "snow":
        for x, y, radius in chance.uniform((0, 0, 0.8), (WIDTH, HEIGHT, 2.6), (220, 3)):
            pen.disc(x, y, radius, (240, 242, 246))
