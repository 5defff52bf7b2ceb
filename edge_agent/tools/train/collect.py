"""Collects pictures of one label from the configured source, until somebody or a limit ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import disk_usage

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import Config, RegionConfig
from edge_agent.errors import EdgeAgentError, SourceError, TeachError, UsageError
from edge_agent.frame import Frame
from edge_agent.inference.choice import choose_here, load_engine
from edge_agent.inference.classifier import Classifier
from edge_agent.model.sidecar import read_sidecar
from edge_agent.pipeline.capture_loop import CaptureLoop, CapturePolicy
from edge_agent.pipeline.jpeg import encode_jpeg
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.pipeline.part import Part, box_of
from edge_agent.sources import Source
from edge_agent.system import paths
from edge_agent.system.clock import Clock
from edge_agent.system.files import write_atomic
from edge_agent.system.lock import is_held
from edge_agent.system.text import printable
from edge_agent.teach.examples import check_label
from edge_agent.tools.train.dataset import TABLES
from edge_agent.tools.train.likeness import ALIKE, NEAR_COSINE, Newness, signs

Pixels = NDArray[np.uint8]
FeatureOf = Callable[[Pixels], NDArray[np.floating]]

_QUALITY = 92
_ROUND_S = 0.2
_END_S = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When it is enough."""

    most_bytes: int
    """Of the whole set, in bytes."""
    reserve_bytes: int
    """What is to stay free on the disk."""
    count: int | None = None
    """Pictures to keep now; None for any number."""
    for_s: float | None = None
    """How long it may take; None for ever."""


@dataclass(slots=True)
class Collected:
    """What became of the pictures that were looked at."""

    kept: int = 0
    alike: int = 0
    """Left out, since they look like one that was kept."""
    ended: str = "the source has ended"
    """Why there are no more."""


class Album:
    """A set's folder for one label. Every picture in it is whole, whenever the power fails."""

    def __init__(self, root: Path, label: str, limits: Limits, clock: Clock) -> None:
        """Raises UsageError for a label that no folder can be called, or a set that a table decides about."""
        self._folder = root / checked_label(label)
        self._limits = limits
        self._clock = clock
        for table in TABLES:
            if (root / table).is_file():
                raise UsageError(
                    f"{printable(root / table)}: this table says what is in the set; name another"
                )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._bytes = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        except OSError as error:
            raise UsageError(
                f"{printable(error.filename or root)}: cannot be written: {error.strerror or error}"
            ) from error

    def lacks_room(self, size: int) -> str:
        """Why a picture of so many bytes has no place; empty where it has one."""
        limits = self._limits
        if self._bytes + size > limits.most_bytes:
            return f"the set has {self._bytes >> 20} MB, and --max-mb {limits.most_bytes >> 20} are allowed"
        if disk_usage(self._folder).free - size < limits.reserve_bytes:
            return f"less than {limits.reserve_bytes >> 20} MB (--keep-free-mb) would stay free on the disk"
        return ""

    def add(self, jpeg: bytes) -> Path:
        """Write a picture whole, named by the time in UTC, as a set expects it. Raises EdgeAgentError."""
        thousandths = round(self._clock.time_s() * 1000)
        while (path := self._folder / _name(thousandths)).exists():
            thousandths += 1
        try:
            write_atomic(path, jpeg, mode=0o600)
        except OSError as error:
            raise EdgeAgentError(
                f"{printable(path)}: cannot be written: {error.strerror or error}"
            ) from error
        self._bytes += len(jpeg)
        return path


def checked_label(label: str) -> str:
    """A label that is also the name of a folder. Raises UsageError."""
    try:
        check_label(label)
    except TeachError as error:
        raise UsageError(f"--label {error}") from None
    if "/" in label or label.startswith("."):
        raise UsageError(
            f"--label {printable(label)!r}: is the name of a folder: without / and . at its front"
        )
    return label


def region_of(config: Config, name: str) -> RegionConfig | None:
    """The region of that name, or the only one that is watched; None for the whole picture.

    Raises UsageError for one that is not in the configuration, or where several are and none is named.
    """
    if name == paths.WHOLE_FRAME:
        return None
    if name in config.regions:
        return config.regions[name]
    there = ", ".join((*config.regions, paths.WHOLE_FRAME))
    if name:
        raise UsageError(f"--region {printable(name, 40)}: there is {there}")
    if len(config.regions) > 1:
        raise UsageError(f"several regions are watched: name one by --region: {there}")
    return next(iter(config.regions.values()), None)


def collect(
    frames: Iterator[Pixels | None],
    album: Album,
    feature_of: FeatureOf,
    newness: Newness,
    limits: Limits,
    clock: Clock,
    show: Callable[[str], None] = lambda _: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Collected:
    """Keep what is new of the frames (None: none came just now), until a limit is reached or they end."""
    found, started_s = Collected(), clock.monotonic_s()
    for pixels in frames:
        if is_stopped():
            found.ended = "stopped"
            break
        if limits.for_s is not None and clock.monotonic_s() - started_s >= limits.for_s:
            found.ended = "the time is over"
            break
        if pixels is None:
            continue
        if not newness.take(feature_of(pixels)):
            found.alike += 1
        else:
            jpeg = encode_jpeg(pixels, _QUALITY)
            if lack := album.lacks_room(len(jpeg)):
                found.ended = lack
                break
            album.add(jpeg)
            found.kept += 1
        show(f"{found.kept} kept, {found.alike} left out as nearly the same")
        if found.kept == limits.count:
            found.ended = "that is all that was wanted"
            break
    return found


@contextmanager
def frames_of(
    source: Source, config: Config, region: RegionConfig | None, every_s: float
) -> Generator[Iterator[Pixels | None]]:
    """What is seen of the source in the region, at most once in so many seconds: read as the agent reads it.

    A camera that fails on the way is opened again, with pauses. The iterator gives None now and then, ends
    where the source does, and raises SourceError where no first frame comes.
    """
    policy = CapturePolicy.from_config(config)
    policy = replace(
        policy, fps=1 / every_s if every_s > 0 else 0.0, focus=box_of(region) if region else None
    )
    slot = LatestFrame()
    loop = CaptureLoop(source, slot, policy, _Nobody())
    thread = threading.Thread(target=loop.run, name="capture", daemon=True)
    thread.start()
    try:
        yield _seen(loop, slot, Part(region))
    finally:
        loop.stop()
        thread.join(_END_S)


def _seen(loop: CaptureLoop, slot: LatestFrame, part: Part) -> Iterator[Pixels | None]:
    while not slot.closed:
        frame = slot.take(_ROUND_S)
        status = loop.status
        if frame is None and status.frames == 0 and status.last_error:
            raise SourceError(status.last_error)
        shown = part.of(frame) if frame is not None else None
        yield shown.pixels if shown is not None else None


class _Nobody:
    """There is no watchdog to feed."""

    def captured(self) -> None:
        pass

    def discarded(self) -> None:
        pass

    def idle(self) -> None:
        pass


def explained(error: SourceError, config: Config, environment: Mapping[str, str]) -> SourceError:
    """Why there is no picture: perhaps the running agent has the camera."""
    state = paths.state_dir_of(config.model.path, environment)
    if not is_held(state):
        return error
    return SourceError(
        f"the running agent (state in {printable(state)}) has the camera, and most cameras serve one program:"
        f" stop it meanwhile (for the service: `systemctl stop edge-agent`); the source said: {error}"
    )


@dataclass(frozen=True, slots=True)
class Eye:
    """What makes a feature of pixels, and from which cosine of two on they are the same."""

    feature_of: FeatureOf
    alike: float
    remark: str
    """What the owner should know; empty where the configured network is at work."""
    close: Callable[[], None] = lambda: None


def open_eye(config: Config, environment: Mapping[str, str]) -> Eye:
    """The configured network's features; where it is not there, or gives none, coarse fingerprints."""
    try:
        artifact = read_sidecar(config.model.path)
        choice = choose_here(artifact, config.model, config.memory, environment)
        engine = load_engine(
            artifact, choice.engine, choice.precision, threads=choice.threads, arithmetic=choice.arithmetic
        )
    except EdgeAgentError as error:
        return Eye(signs, NEAR_COSINE, f"near-duplicates are told by a coarse fingerprint: {error}")
    classifier = Classifier.from_artifact(artifact, engine)

    def feature_of(pixels: Pixels) -> NDArray[np.floating]:
        return classifier.classify(Frame(0, 0.0, 0.0, pixels)).feature

    side = artifact.sidecar.preprocessing.crop
    if not feature_of(np.zeros((side, side, 3), np.uint8)).size:
        engine.close()
        reason = "the model gives no features as it runs here"
        return Eye(signs, NEAR_COSINE, f"near-duplicates are told by a coarse fingerprint: {reason}")
    return Eye(feature_of, ALIKE, "", engine.close)


def _name(thousandths: int) -> str:
    seconds, rest = divmod(thousandths, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}.{rest:03}Z.jpg"
