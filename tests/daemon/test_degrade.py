"""What can be given up for memory, and what is left of the configuration then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.config.schema import (
    Config,
    Picamera2Config,
    PublishConfig,
    SourceConfig,
    V4l2Config,
    WebConfig,
)
from edge_agent.daemon.degrade import Degradation, possible_steps, reduced, smaller
from edge_agent.inference import StreamingEngine
from edge_agent.inference.loading import LoadedModel
from edge_agent.memory.budget import DegradeStep
from tests.daemon.assembled import SIDECAR, Assembled, fake_model

LARGE = SourceConfig(
    type="picamera2",
    picamera2=Picamera2Config(width=1280, height=960, lores_width=640, lores_height=480),
    v4l2=V4l2Config(width=1280, height=960),
)
EVERYTHING = Config(source=LARGE, publish=PublishConfig(image=True), web=WebConfig(enabled=True))


def without_fp16(model: LoadedModel) -> LoadedModel:
    files = {role: served_by for role, served_by in SIDECAR.files.items() if role != "xnnpack-fp16"}
    return replace(model, artifact=replace(model.artifact, sidecar=replace(SIDECAR, files=files)))


def streaming(model: LoadedModel) -> LoadedModel:
    assert isinstance(model.engine, StreamingEngine)
    model.engine.stream()
    return model


def test_all_steps_are_taken_in_their_order_where_each_saves_something() -> None:
    expected = tuple(step for step in DegradeStep if step is not DegradeStep.REOPEN_STREAM)
    assert possible_steps(EVERYTHING, fake_model()) == expected


@pytest.mark.parametrize("kind", ["rtsp", "file"])
def test_a_stream_that_may_have_grown_is_opened_again_first(kind: str) -> None:
    config = replace(EVERYTHING, source=replace(LARGE, type=kind))  # type: ignore[arg-type]
    assert possible_steps(config, fake_model()) == (
        DegradeStep.REOPEN_STREAM,
        DegradeStep.STREAM_WEIGHTS,
        DegradeStep.FP16_WEIGHTS,
        DegradeStep.NO_IMAGES,
        DegradeStep.NO_PAGE,
    )


@pytest.mark.parametrize(
    ("config", "model", "missing"),
    [
        (EVERYTHING, streaming(fake_model()), DegradeStep.STREAM_WEIGHTS),
        (EVERYTHING, fake_model(precision="fp16"), DegradeStep.FP16_WEIGHTS),
        (EVERYTHING, without_fp16(fake_model()), DegradeStep.FP16_WEIGHTS),
        (EVERYTHING, fake_model(engine="torchscript"), DegradeStep.FP16_WEIGHTS),
        (replace(EVERYTHING, publish=PublishConfig()), fake_model(), DegradeStep.NO_IMAGES),
        (replace(EVERYTHING, web=WebConfig()), fake_model(), DegradeStep.NO_PAGE),
        (replace(EVERYTHING, source=replace(LARGE, type="http")), fake_model(), DegradeStep.SMALL_FRAME),
        (replace(EVERYTHING, source=smaller(LARGE)), fake_model(), DegradeStep.SMALL_FRAME),
    ],
)
def test_a_step_that_would_save_nothing_is_left_out(
    config: Config, model: LoadedModel, missing: DegradeStep
) -> None:
    assert set(DegradeStep) - set(possible_steps(config, model)) == {missing, DegradeStep.REOPEN_STREAM}


def test_both_streams_of_a_camera_become_smaller() -> None:
    camera = smaller(LARGE).picamera2
    assert (camera.width, camera.height, camera.lores_width, camera.lores_height) == (320, 240, 320, 240)


def test_a_usb_camera_is_asked_for_a_smaller_picture() -> None:
    camera = smaller(replace(LARGE, type="v4l2")).v4l2
    assert (camera.width, camera.height) == (320, 240)


@pytest.mark.parametrize("kind", ["picamera2", "v4l2"])
def test_what_is_small_stays_as_it_is(kind: str) -> None:
    small = SourceConfig(
        type=kind,  # type: ignore[arg-type]
        picamera2=Picamera2Config(width=160, height=120, lores_width=128, lores_height=96),
        v4l2=V4l2Config(width=160, height=120),
    )
    assert smaller(small) == small


@pytest.mark.parametrize("kind", ["rtsp", "file", "folder"])
def test_a_source_whose_size_cannot_be_chosen_stays_as_it_is(kind: str) -> None:
    source = replace(LARGE, type=kind)  # type: ignore[arg-type]
    assert smaller(source) == source


def test_a_configuration_is_reduced_by_the_steps_and_nothing_else() -> None:
    assert reduced(EVERYTHING, ()) == EVERYTHING
    assert reduced(EVERYTHING, (DegradeStep.FP16_WEIGHTS,)) == EVERYTHING
    without_images = reduced(EVERYTHING, (DegradeStep.NO_IMAGES,))
    assert without_images == replace(EVERYTHING, publish=PublishConfig(image=False))
    small = reduced(EVERYTHING, (DegradeStep.SMALL_FRAME,))
    assert small == replace(EVERYTHING, source=smaller(LARGE))
    assert reduced(without_images, (DegradeStep.NO_IMAGES,)) == without_images


def test_the_page_is_closed_where_memory_is_short(tmp_path: Path) -> None:
    agent = Assembled(tmp_path, {"source": {"type": "folder", "folder": {"path": str(tmp_path)}}})
    closed: list[bool] = []
    degradation = Degradation(
        agent.loop, agent.capture, lambda: agent.config, agent.cameras.make, lambda: closed.append(True)
    )
    degradation.degrade(DegradeStep.NO_PAGE)
    agent.close()
    assert closed == [True]
