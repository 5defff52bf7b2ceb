"""The agent as its page sees it (`web.agent_view.AgentView`): snapshots, and pictures on request."""

from __future__ import annotations

import io
import logging
import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.config.live import LiveConfig
from edge_agent.config.schema import Config
from edge_agent.daemon.cooling import Cooling
from edge_agent.daemon.errands import Errand, ErrandError, Errands
from edge_agent.daemon.newest_picture import NewestPicture
from edge_agent.daemon.report import camera_health
from edge_agent.daemon.teaching import Teaching
from edge_agent.errors import EngineError
from edge_agent.frame import WHOLE, Box, Frame
from edge_agent.inference import Prediction
from edge_agent.memory.guard import MemoryGuard
from edge_agent.memory.procfs import read_memory
from edge_agent.memory.room import Room
from edge_agent.mqtt.contract.payloads import EventImageInfo, Health, Info, LabelChanged, State, utc
from edge_agent.mqtt.link import BrokerLink
from edge_agent.mqtt.requests import LessonRequest
from edge_agent.pipeline.capture_loop import CaptureLoop
from edge_agent.pipeline.frame_stats import SteadyRate
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.pipeline.jpeg import encode_jpeg
from edge_agent.pipeline.part import box_of, place_in
from edge_agent.system.clock import Clock
from edge_agent.system.log import RepeatedError
from edge_agent.web.agent_view import BusyError, HeadAnswer, Picture, Recognised
from edge_agent.web.event_folder import EventFolder
from edge_agent.web.event_ring import Event, EventRing
from edge_agent.web.history import History

_LOG = logging.getLogger(__name__)
MOST_WAITING = 6
"""For an event, at once: fewer than the page has threads."""
_QUALITY = 75
_THUMBNAIL = (160, 120)
_THUMBNAIL_S = 0.2
_HEALTH_S = 1.0
_CLASSIFY_S = 10.0


class WebAgent:
    """Sees what is published (`mqtt.link.Witness`) and every answer, and keeps the latest of each.

    `published`, `pictured` and `answered` are called by the agent's threads, everything else by the page's.
    """

    def __init__(
        self,
        config_file: Path,
        live: LiveConfig,
        link: BrokerLink,
        loop: InferenceLoop,
        capture: CaptureLoop,
        guard: MemoryGuard,
        cooling: Cooling,
        room: Room,
        clock: Clock,
        teaching: Teaching,
        errands: Errands,
        events_dir: Path,
    ) -> None:
        """`events_dir` is where events are kept, if the configuration wants that."""
        self.config_file = config_file
        most_bytes = live.config.web.events_mb << 20
        folder = EventFolder(events_dir, most_bytes, RepeatedError(_LOG, clock.monotonic_s))
        self.events = EventRing(MOST_WAITING, keeper=folder if most_bytes else None)
        self.history = History()
        self._live = live
        self._link = link
        self._loop = loop
        self._capture = capture
        self._guard = guard
        self._cooling = cooling
        self._room = room
        self._clock = clock
        self._teaching = teaching
        self._errands = errands
        self._started_s = clock.monotonic_s()
        self._pending: list[Event] = []
        self._states: dict[str, State] = {}
        self._seqs: dict[str, int] = {}
        self._published_health: Health | None = None
        self._health: Health | None = None
        self._health_s = -math.inf
        self._info: Info | None = None
        self._rate = SteadyRate()
        self._newest = NewestPicture(clock)
        self._thumbnail_s = -math.inf
        self._lock = threading.Lock()

    def published(self, payload: State | LabelChanged | Health | Info) -> None:
        """Keep what the broker is told."""
        match payload:
            case State():
                self._seqs[payload.region] = payload.seq
            case LabelChanged():
                self._pending.append(Event(payload))
            case Health():
                self._published_health = payload
                self._health_s = -math.inf
                self.history.add(payload)
            case Info():
                self._info = payload

    def pictured(self, jpeg: bytes, info: EventImageInfo) -> None:
        """Keep a small picture of the latest event, a few times a second at most."""
        now_s = self._clock.monotonic_s()
        pending = self._pending[-1:]
        if pending and pending[0].changed.seq == info.seq and now_s - self._thumbnail_s >= _THUMBNAIL_S:
            self._thumbnail_s = now_s
            self._pending[-1] = replace(pending[0], thumbnail=thumbnail(jpeg))

    def answered(self, state: State) -> None:
        """Keep the present answer, published or not; its event and that one's picture came before."""
        for event in self._pending:
            self.events.add(event)
        self._pending.clear()
        self._states[state.region] = replace(state, seq=self._seqs.get(state.region, 0))

    def config(self) -> Config:
        """The configuration in force."""
        return self._live.config

    def states(self) -> tuple[State, ...]:
        """The present answer of each view."""
        states, watched = self._states.copy(), self._live.config.watched
        return tuple(states[region] for region in watched if region in states)

    def window(self) -> Box:
        """Which part of the whole picture the newest frame shows."""
        frame = self._loop.last_frame
        return frame.window if frame else WHOLE

    def regions(self) -> dict[str, Box]:
        """Where the regions are in the newest frame."""
        window = self.window()
        boxes = ((name, box_of(region)) for name, region in self._live.config.regions.items())
        places = {name: place_in(window, box) for name, box in boxes}
        return {name: place for name, place in places.items() if place is not None}

    def info(self) -> Info | None:
        """What runs here."""
        return self._info

    def health(self) -> Health | None:
        """What was published last, with everything that can be measured at once as it is now."""
        with self._lock:
            now_s = self._clock.monotonic_s()
            published = self._published_health
            if published is not None and now_s - self._health_s >= _HEALTH_S:
                self._health, self._health_s = self._measured(published, now_s), now_s
            return self._health

    def last_frame_s(self) -> float:
        """The age of the newest classified frame, in seconds."""
        frame = self._loop.last_frame
        return math.inf if frame is None else self._clock.monotonic_s() - frame.captured_s

    def picture(self, width: int) -> Picture | None:
        """The newest frame as JPEG; while one was just made, that one."""
        frame = self._loop.last_frame
        return None if frame is None else self._newest.picture(frame, width)

    def room_bytes(self) -> int:
        """What the memory budget leaves."""
        return self._room()

    def classify(self, pixels: NDArray[np.uint8]) -> Recognised:
        """Have a picture classified between two frames."""
        frame = Frame(0, self._clock.monotonic_s(), 0.0, pixels)
        errand = Errand(lambda: self._recognised(frame))
        self._loop.between_frames(errand.run)
        try:
            return errand.result(_CLASSIFY_S)
        except EngineError:
            raise
        except ErrandError:
            raise BusyError("the agent is not classifying just now") from None
        except Exception as error:
            raise EngineError(f"the picture could not be classified ({type(error).__name__})") from error

    def teach(self, lesson: LessonRequest) -> dict[str, Any]:
        """Have the main thread teach."""
        return self._errands.ask(lambda: self._teaching.carry_out(lesson))

    def question_picture(self, region: str, number: int) -> bytes:
        """The picture of a frame that waits for its name."""
        view = self._loop.view(region)
        waiting = view.asking.waiting if view is not None and view.asking is not None else ()
        return next((each.thumbnail for each in waiting if each.number == number), b"")

    def _recognised(self, frame: Frame) -> Recognised:
        """What the network and each head see in a picture; on the inference thread."""
        prediction = self._loop.model.classifier.classify(frame)
        return Recognised(prediction, tuple(self._opinions(prediction)))

    def _opinions(self, prediction: Prediction) -> Iterator[HeadAnswer]:
        for region in self._live.config.watched:
            view = self._loop.view(region)
            if view is not None and (opinion := view.opinion(prediction.feature)) is not None:
                yield HeadAnswer(region, *opinion)

    def _measured(self, published: Health, now_s: float) -> Health:
        use = read_memory()
        memory = replace(
            published.memory,
            rss_mb=use.rss_mb,
            anon_mb=use.anon_mb,
            file_mb=use.file_mb,
            peak_mb=max(use.peak_mb, published.memory.peak_mb),
            budget_mb=self._guard.monitor.policy.budget_mb,
            state=self._guard.monitor.state,
        )
        fps = self._rate.update(now_s, self._loop.classified)
        return replace(
            published,
            ts=utc(self._clock.time_s()),
            ts_synced=self._clock.synced(),
            uptime_s=now_s - self._started_s,
            memory=memory,
            camera=camera_health(self._capture.status, self._live.config.source.type),
            mqtt=self._link.status.health(),
            board=self._cooling.health(),
            fps=published.fps if fps is None else fps,
            skipped=self._loop.skipped,
            flaps=self._loop.flaps,
        )


def thumbnail(jpeg: bytes) -> bytes:
    """A JPEG made small; one that the agent has made itself."""
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as picture:
        picture.draft("RGB", _THUMBNAIL)
        picture.thumbnail(_THUMBNAIL)
        return encode_jpeg(np.asarray(picture.convert("RGB")), _QUALITY)
