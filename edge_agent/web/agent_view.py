"""What the page sees of the agent, and what it may ask of it: implemented by the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import Config
from edge_agent.errors import EdgeAgentError
from edge_agent.frame import Box
from edge_agent.inference import Prediction, Score
from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.payloads import Health, Info, State
from edge_agent.mqtt.requests import LessonRequest
from edge_agent.web.event_ring import EventRing
from edge_agent.web.history import History


class BusyError(EdgeAgentError):
    """The agent has no time for this now; asking again later may help."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for the browser."""

    frame_id: int
    """That of the frame it was made of."""
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class HeadAnswer:
    """What a taught head says of a picture."""

    region: str
    """That it was taught for; empty for the whole picture."""
    top: tuple[Score, ...]
    why_unknown: str
    """Why the picture is unknown to it; empty where it is not."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """What was seen in a picture."""

    prediction: Prediction
    """By the network's own labels."""
    heads: tuple[HeadAnswer, ...] = ()


class AgentView(Protocol):
    """The agent, for threads of the page. Nothing here waits for a frame but `classify`."""

    @property
    def events(self) -> EventRing: ...

    @property
    def history(self) -> History: ...

    @property
    def config_file(self) -> Path: ...

    def config(self) -> Config:
        """The configuration in force."""
        ...

    def states(self) -> tuple[State, ...]:
        """The present answer of each view, whole picture or region; empty before the first frame."""
        ...

    def window(self) -> Box:
        """Which part of the whole picture the newest frame shows."""
        ...

    def regions(self) -> dict[str, Box]:
        """Where the regions are in the newest frame, of which a camera may show a part; by their names."""
        ...

    def health(self) -> Health | None:
        """How the agent is just now; None before it has said so for the first time."""
        ...

    def info(self) -> Info | None:
        """What runs here; None while it still starts."""
        ...

    def last_frame_s(self) -> float:
        """How many seconds ago the newest classified frame was captured; infinite before the first."""
        ...

    def picture(self, width: int) -> Picture | None:
        """The newest frame as JPEG, at most so many pixels wide; None before the first.

        It is made when asked for, at most a few times a second.
        """
        ...

    def room_bytes(self) -> int:
        """How much memory may be taken now."""
        ...

    def classify(self, pixels: NDArray[np.uint8]) -> Recognised:
        """What is seen in a picture, RGB, shape (height, width, 3), uint8, by the published labels and heads.

        It runs between two frames. Raises BusyError, and EngineError when the engine fails.
        """
        ...

    def teach(self, lesson: LessonRequest) -> dict[str, Any]:
        """Teach, or say what was taught, in JSON's own types. Raises EdgeAgentError."""
        ...

    def question_picture(self, region: str, number: int) -> bytes:
        """The small JPEG of a frame that waits for its name; empty where there is none."""
        ...
