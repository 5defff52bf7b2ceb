"""A small rendered world: a gate that is open or closed, on several days, by changing light."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64


def scene(label: str, day: int, shot: int) -> NDArray[np.uint8]:
    """One picture; the light is the day's, and noise and a small shift are the shot's."""
    light = np.random.default_rng(day)
    noise = np.random.default_rng((day, shot, len(label)))
    picture = np.full((SIDE, SIDE, 3), light.integers(60, 200, 3), np.float64)
    picture += np.linspace(-30, 30, SIDE)[:, None, None] * light.uniform(-1, 1)
    left = 20 + int(noise.integers(-3, 4))
    if label == "closed":
        picture[16:56, left : left + 24] *= 0.3
    else:
        picture[16:56, left : left + 3] *= 0.3
        picture[16:56, left + 21 : left + 24] *= 0.3
    picture += noise.normal(0, 12, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def render(root: Path, days: int = 6, shots: int = 8, labels: tuple[str, ...] = ("closed", "open")) -> Path:
    """Write a set: for each label a folder, with some shots, five seconds apart, on each day."""
    for label in labels:
        folder = root / label
        folder.mkdir(parents=True)
        for day in range(days):
            for shot in range(shots):
                name = f"202601{day + 1:02}T12{len(label):02}{shot * 5:02}Z.png"
                Image.fromarray(scene(label, day, shot)).save(folder / name)
    return root
