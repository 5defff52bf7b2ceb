"""Renders the frames of a scene and gives their features, as the daemon's engine computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.teaching.camera import Pixels
from benchmarks.teaching.sample import Size, judged, strangers, taught, watched
from benchmarks.teaching.scene import Moment, Scene, cut, render
from edge_agent.inference.native.engine import NativeEngine
from edge_agent.inference.preprocess import Preprocessor
from edge_agent.model.sidecar import read_sidecar
from edge_agent.teach.head import Backbone

Features = NDArray[np.float16]
"""Shape (frames, features)."""


class Network:
    """A model's features, by the native engine on one thread."""

    def __init__(self, directory: Path, packed: Path) -> None:
        """`packed` is a folder for the engine's weights. Raises ArtifactError and EngineError."""
        artifact = read_sidecar(directory)
        self.name = artifact.sidecar.arch
        self._engine = NativeEngine.load(artifact, "fp16", threads=1, directories=[packed])
        self._preprocess = Preprocessor(artifact.sidecar.preprocessing)
        info = self._engine.info
        count = len(self._engine.features)
        self.backbone = Backbone(artifact.sidecar.sha256, f"{info.engine}-{info.arithmetic}", count)

    def feature(self, pixels: Pixels) -> NDArray[np.float16]:
        """The features of a picture, shape (features,)."""
        self._engine.run(self._preprocess(pixels))
        return self._engine.features.astype(np.float16)

    def close(self) -> None:
        self._engine.close()


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Features of some frames, of the region and of the whole picture."""

    states: tuple[str, ...]
    days: tuple[int, ...]
    hours: tuple[float, ...]
    visits: tuple[int, ...]
    brightness: NDArray[np.float32]
    """Of the region, 0 to 255."""
    region: Features
    whole: Features
    """Of no rows where it was not asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class SceneFeatures:
    """All that is measured of one scene with one network."""

    scene: str
    labels: tuple[str, ...]
    backbone: Backbone
    taught: Seen
    judged: Seen
    strangers: Seen
    watched: Seen
    minutes: tuple[int, ...]
    """Of the frames of `watched`."""


def look(scene: Scene, network: Network, size: Size) -> SceneFeatures:
    """Render all frames of a scene: minutes, where `size` is not a small one."""
    days = watched(scene, size)
    return SceneFeatures(
        scene.name,
        scene.labels,
        network.backbone,
        _seen(scene, network, taught(scene, size)),
        _seen(scene, network, judged(scene, size)),
        _seen(scene, network, strangers(scene, size)),
        _seen(scene, network, [each.moment for each in days], with_whole=False),
        tuple(each.minute for each in days),
    )


def _seen(scene: Scene, network: Network, moments: Sequence[Moment], *, with_whole: bool = True) -> Seen:
    region, whole, brightness = [], [], []
    for moment in moments:
        if with_whole:
            frame = render(scene, moment)
            whole.append(network.feature(frame))
            part = cut(scene, frame)
        else:
            part = render(scene, moment, scene.window)
        brightness.append(float(part.mean()))
        region.append(network.feature(part))
    empty = np.empty((0, network.backbone.features), np.float16)
    return Seen(
        tuple(each.state for each in moments),
        tuple(each.day for each in moments),
        tuple(each.hour for each in moments),
        tuple(each.visit for each in moments),
        np.array(brightness, np.float32),
        np.stack(region),
        np.stack(whole) if whole else empty,
    )
