"""Gives up one thing after another, for the agent to stay within its memory budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from edge_agent.config.schema import Config, SourceConfig
from edge_agent.inference import StreamingEngine
from edge_agent.inference.loading import LoadedModel, label_map, reload_as
from edge_agent.memory.budget import DegradeStep
from edge_agent.model.sidecar import role_of
from edge_agent.pipeline.capture_loop import CaptureLoop
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.pipeline.rules import Rules
from edge_agent.sources import Source

SMALL_WIDTH, SMALL_HEIGHT = 320, 240
"""The largest frame after the `small_frame` step. Networks see 224 pixels, so nothing is lost."""

_STREAMS = ("rtsp", "file")
"""The sources whose decoder follows a stream that becomes larger: only opening it again shows its size."""


def possible_steps(config: Config, model: LoadedModel) -> tuple[DegradeStep, ...]:
    """Return the steps that would save memory here, in the order in which they are taken."""
    return tuple(_possible(config, model))


def _possible(config: Config, model: LoadedModel) -> Iterator[DegradeStep]:
    choice = model.choice
    if config.source.type in _STREAMS:
        yield DegradeStep.REOPEN_STREAM
    if isinstance(model.engine, StreamingEngine) and model.engine.can_stream:
        yield DegradeStep.STREAM_WEIGHTS
    if choice.precision == "fp32" and role_of(choice.engine, "fp16") in model.artifact.sidecar.files:
        yield DegradeStep.FP16_WEIGHTS
    if config.publish.image or config.publish.event_image:
        yield DegradeStep.NO_IMAGES
    if config.web.enabled:
        yield DegradeStep.NO_PAGE
    if smaller(config.source) != config.source:
        yield DegradeStep.SMALL_FRAME


def smaller(source: SourceConfig) -> SourceConfig:
    """Return `source` with frames no larger than SMALL_WIDTH x SMALL_HEIGHT, where the size can be chosen."""
    if source.type == "picamera2":
        camera = source.picamera2
        width, height = min(camera.width, SMALL_WIDTH), min(camera.height, SMALL_HEIGHT)
        lores_width, lores_height = min(camera.lores_width, width), min(camera.lores_height, height)
        shrunk = replace(
            camera, width=width, height=height, lores_width=lores_width, lores_height=lores_height
        )
        return replace(source, picamera2=shrunk)
    if source.type == "v4l2":
        width, height = min(source.v4l2.width, SMALL_WIDTH), min(source.v4l2.height, SMALL_HEIGHT)
        return replace(source, v4l2=replace(source.v4l2, width=width, height=height))
    return source


def reduced(config: Config, steps: Collection[DegradeStep]) -> Config:
    """Return `config` without what has been given up. Applied to every later edit too."""
    if DegradeStep.NO_IMAGES in steps:
        config = replace(config, publish=replace(config.publish, image=False, event_image=False))
    if DegradeStep.SMALL_FRAME in steps:
        config = replace(config, source=smaller(config.source))
    return config


class Degradation:
    """Takes the steps; each takes effect with the next frames."""

    def __init__(
        self,
        loop: InferenceLoop,
        capture: CaptureLoop,
        config: Callable[[], Config],
        make_source: Callable[[SourceConfig], Source],
        close_page: Callable[[], None] = lambda: None,
    ) -> None:
        """`config` returns the configuration in force; `close_page` ends the owner's page."""
        self._loop = loop
        self._capture = capture
        self._config = config
        self._make_source = make_source
        self._close_page = close_page

    def degrade(self, step: DegradeStep) -> None:
        """Take one step. An error in it ends the inference thread and so the agent."""
        config = reduced(self._config(), (step,))
        match step:
            case DegradeStep.STREAM_WEIGHTS:
                self._loop.between_frames(self._stream)
            case DegradeStep.FP16_WEIGHTS:
                self._loop.between_frames(lambda: self._use_fp16(config))
            case DegradeStep.NO_IMAGES:
                self._loop.between_frames(lambda: self._loop.adopt(Rules.from_config(config)))
            case DegradeStep.NO_PAGE:
                self._close_page()
            case DegradeStep.REOPEN_STREAM | DegradeStep.SMALL_FRAME:
                self._capture.use_source(self._make_source(config.source))

    def _stream(self) -> None:
        if isinstance(engine := self._loop.model.engine, StreamingEngine):
            engine.stream()

    def _use_fp16(self, config: Config) -> None:
        model = self._loop.model
        labels = label_map(model.artifact, config.labels)
        self._loop.use_model(reload_as(model, "fp16", labels, config.model.affinity or model.choice.affinity))
