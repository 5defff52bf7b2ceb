"""Pictures of a gate that is open, closed or hidden, in changing light, as a camera would take them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (320, 240)
GATE = (0.25, 0.25, 0.5, 0.5)
"""Where the gate is: left, top, width, height, as shares of the picture."""

HOUR_S = 3600.0
FIRST_S = 1.79e9


def gate(label: str, seed: int) -> Image.Image:
    """A picture of a gate: `open`, `closed`, or `none` for a van in front of it."""
    chance = np.random.default_rng(seed)
    light = chance.uniform(0.5, 1.0)
    shift = int(chance.integers(-5, 6))
    width, height = SIZE
    picture = Image.new("RGB", SIZE, (120, 160, 210))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, height * 0.6, width, height), fill=(90, 110, 70))
    left, top, right, bottom = (80 + shift, 60, 240 + shift, 180)
    draw.rectangle((left, top, right, bottom), fill=(60, 60, 60))
    if label == "closed":
        for x in range(left, right, 16):
            draw.rectangle((x, top, x + 9, bottom), fill=(150, 90, 40))
        draw.line((left, top, right, bottom), fill=(110, 60, 20), width=8)
    elif label == "none":
        draw.rounded_rectangle((left - 15, top + 30, right + 15, bottom + 25), 20, fill=(230, 230, 235))
        for x in (left + 25, right - 25):
            draw.ellipse((x - 18, bottom, x + 18, bottom + 36), fill=(20, 20, 20))
    else:
        draw.polygon(((left, bottom), (right, bottom), (160 + shift, top + 30)), fill=(190, 185, 170))
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(1))) * light + chance.normal(
        0, 6, (height, width, 3)
    )
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_gates(folder: Path, label: str, seeds: range) -> Path:
    """Write pictures, each taken an hour after the one before it."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        path = folder / f"{seed:03}.jpg"
        gate(label, seed).save(path, quality=90)
        os.utime(path, (FIRST_S + HOUR_S * seed, FIRST_S + HOUR_S * seed))
    return folder
