"""What `edge-agent teach` works with: a view's lessons, and the network as the agent runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import Config, RegionConfig
from edge_agent.errors import TeachError, UsageError
from edge_agent.frame import Frame
from edge_agent.inference.choice import choose_here, load_engine
from edge_agent.inference.classifier import Classifier
from edge_agent.install.in_use import model_in_use, read_as_run
from edge_agent.pipeline.part import Part
from edge_agent.pipeline.shots import backbone_of, from_thumbnails, lessons_of, shot_of
from edge_agent.pipeline.turn import UPRIGHT, Turn
from edge_agent.sources.picture import Pixels, read_opened
from edge_agent.sources.picture_time import taken_s
from edge_agent.system import paths
from edge_agent.system.text import printable
from edge_agent.teach.fitting import finished
from edge_agent.teach.lessons import Relearnt, Shot, directory_of

Shown = Literal["camera", "seen", "view"]
"""What pictures show: all that the camera gives, that turned as the agent sees it, or the view alone."""


@dataclass(frozen=True, slots=True)
class View:
    """What is taught: the whole picture or a region, and where its teaching lies."""

    region: str
    """Empty for the whole picture."""
    state: Path
    """The agent's state directory."""
    turn: Turn = UPRIGHT
    watched: RegionConfig | None = None
    """None for the whole picture."""

    @property
    def name(self) -> str:
        return self.region or paths.WHOLE_FRAME

    @property
    def directory(self) -> Path:
        return directory_of(self.state, self.region)

    def part(self, pixels: Pixels, shown: Shown) -> Pixels:
        """What the agent sees in this view, of a picture that shows so much."""
        if shown == "view":
            return pixels
        return Part(self.watched).cut_out(self.turn(pixels) if shown == "camera" else pixels)


def view_of(config: Config, name: str, environment: Mapping[str, str], *, only_watched: bool) -> View:
    """The view with that name; without one, the only one that is watched.

    `only_watched`: other names than those of the configuration are refused. Raises UsageError and TeachError.
    """
    watched = [region or paths.WHOLE_FRAME for region in config.watched]
    if not name and len(watched) > 1:
        raise UsageError(f"several regions are watched: name one by --view: {', '.join(watched)}")
    name = name or watched[0]
    if only_watched and name not in watched:
        raise UsageError(f"--view {printable(name, 40)}: what is watched is {', '.join(watched)}")
    region = "" if name == paths.WHOLE_FRAME else name
    state = paths.state_dir_of(config.model.path, environment)
    view = View(region, state, Turn.from_config(config.source), config.regions.get(region))
    directory_of(state, region)  # refuses what cannot be a name
    return view


class Classroom:
    """A view, its lessons, and the network that pictures are shown to. To be closed."""

    def __init__(self, config: Config, view: View, environment: Mapping[str, str]) -> None:
        """Load the network as the agent would; its budget does not hold here.

        Raises ArtifactError, EngineError or BudgetError where the agent could not run it either, TeachError
        where the network cannot be taught.
        """
        artifact = read_as_run(model_in_use(config.model.path, environment))
        choice = choose_here(artifact, config.model, config.memory, environment)
        self._engine = load_engine(
            artifact,
            choice.engine,
            choice.precision,
            threads=choice.threads,
            affinity=config.model.affinity or choice.affinity,
            caches=(paths.cache_dir(environment),),
            arithmetic=choice.arithmetic,
        )
        self._classifier = Classifier.from_artifact(artifact, self._engine)
        self.view = view
        side = artifact.sidecar.preprocessing.crop
        features = self.feature_of(np.zeros((side, side, 3), np.uint8)).size
        if not features:
            self.close()
            name = printable(artifact.sidecar.name, 80)
            reason = f"`edge-agent model info {artifact.directory}` says why"
            raise TeachError(f"{name} cannot be taught as it runs here; {reason}")
        backbone = backbone_of(artifact, self._engine.info, features)
        self.lessons = lessons_of(view.directory, backbone, config.teach)

    def close(self) -> None:
        self._engine.close()

    def shot(self, file: BinaryIO, path: Path, shown: Shown, *, with_thumbnail: bool) -> Shot:
        """What is learnt from a picture file. Raises PictureError and TeachError."""
        pixels = self.view.part(read_opened(file, path), shown)
        return shot_of(pixels, self.feature_of(pixels), taken_s(file), with_thumbnail=with_thumbnail)

    def relearn(self) -> Relearnt:
        """Teach this network what another one was taught; nothing in most cases."""
        return finished(self.lessons.relearning(from_thumbnails(self.feature_of)))

    def feature_of(self, pixels: Pixels) -> NDArray[np.float32]:
        """What the network makes of the pixels of a view, shape (features,)."""
        return self._classifier.classify(Frame(0, 0.0, 0.0, pixels)).feature
