"""The doctor's checks of model, engine, camera and broker, on real ones and on broken ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.config.schema import (
    Config,
    FolderConfig,
    ModelConfig,
    MqttConfig,
    RegionConfig,
    SourceConfig,
)
from edge_agent.model.sidecar import Artifact
from edge_agent.sources.factory import make_source
from edge_agent.system.clock import SystemClock
from edge_agent.system.secret import Secret
from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.doctor import setup_checks
from tests.mqtt.brokers import HOST, Mosquitto
from tests.sources.fake_picamera2 import FakeBoard, install


def _folder(path: Path) -> SourceConfig:
    return SourceConfig(type="folder", folder=FolderConfig(path=path))


def test_an_undamaged_model_is_fine(lite0: Artifact) -> None:
    assert setup_checks.model(lite0.directory).verdict == "ok"


def test_a_damaged_file_of_the_model_is_named(lite0: Artifact, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(lite0.directory, copy)
    weights = next(copy.glob("xnnpack-fp16.*weights"))
    weights.write_bytes(weights.read_bytes()[:-100])
    check = setup_checks.model(copy)
    assert check.verdict == "fail"
    assert weights.name in check.advice


def test_a_missing_model_fails(tmp_path: Path) -> None:
    assert setup_checks.model(tmp_path).verdict == "fail"


def test_an_engine_that_was_not_calibrated_is_a_warning(lite0: Artifact, tmp_path: Path) -> None:
    check = setup_checks.engine(lite0, Config(), {"HOME": str(tmp_path)})
    assert (check.verdict, "edge-agent calibrate" in check.advice) == ("warn", True)


def test_a_model_without_files_for_the_engine_fails(lite0: Artifact, tmp_path: Path) -> None:
    bare = replace(lite0, sidecar=replace(lite0.sidecar, files={}))
    config = Config(model=ModelConfig(engine="xnnpack"))
    assert setup_checks.engine(bare, config, {"HOME": str(tmp_path)}).verdict == "fail"


def test_a_source_that_delivers_is_fine() -> None:
    (check,) = setup_checks.camera(make_source(_folder(PICTURES_DIR)), Config())
    assert check.verdict == "ok"
    assert "448x448" in check.found


@pytest.mark.parametrize("exists", [True, False])
def test_a_source_without_a_frame_fails(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "pictures"
    if exists:
        folder.mkdir()
    (check,) = setup_checks.camera(make_source(_folder(folder)), Config())
    assert check.verdict == "fail"


def test_a_region_with_too_few_pixels_is_named_with_its_size_and_what_to_do() -> None:
    regions = {
        "gate": RegionConfig((0.0, 0.5, 0.5, 0.1)),
        "door": RegionConfig((0.0, 0.0, 0.5, 0.5)),
    }
    config = Config(source=replace(_folder(PICTURES_DIR), rotate="90"), regions=regions)
    camera, small = setup_checks.camera(make_source(config.source), config)
    assert camera.verdict == "ok"
    assert (small.name, small.verdict, small.found) == ("region gate", "warn", "224 x 45 pixels")
    assert "regions.gate larger, or take pictures with more pixels" in small.advice


def test_the_only_region_of_a_pi_camera_is_seen_as_the_camera_crops_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, FakeBoard(sensor=(1014, 760)))
    gate, door = RegionConfig((0.7, 0.7, 0.1, 0.1)), RegionConfig((0.0, 0.0, 0.5, 0.5))
    source = SourceConfig(type="picamera2")
    only = Config(source=source, regions={"gate": gate})
    assert [check.name for check in setup_checks.camera(make_source(source), only)] == ["camera"]
    both = Config(source=source, regions={"gate": gate, "door": door})
    _, small = setup_checks.camera(make_source(source), both)
    assert (small.name, small.found) == ("region gate", "32 x 24 pixels")
    assert "source.picamera2.lores_width" in small.advice
    assert "the only one" in small.advice


def test_a_broker_that_accepts_the_agent_is_fine(broker: Mosquitto, tmp_path: Path) -> None:
    config = Config(device_id="porch", mqtt=MqttConfig(host=HOST, port=broker.port))
    check = setup_checks.broker(config, SystemClock(), {"HOME": str(tmp_path)})
    assert (check.verdict, "MQTT 5" in check.found) == ("ok", True)


def test_a_broker_that_is_not_there_fails_with_what_to_check(broker: Mosquitto, tmp_path: Path) -> None:
    broker.kill()
    config = Config(device_id="porch", mqtt=MqttConfig(host=HOST, port=broker.port))
    check = setup_checks.broker(config, SystemClock(), {"HOME": str(tmp_path)})
    assert check.verdict == "fail"
    assert "mqtt.port" in check.advice


def test_a_password_file_that_is_missing_fails(tmp_path: Path) -> None:
    mqtt = MqttConfig(host=HOST, username="me", password=Secret(""), password_file=tmp_path / "none")
    check = setup_checks.broker(Config(device_id="porch", mqtt=mqtt), SystemClock(), {"HOME": str(tmp_path)})
    assert check.verdict == "fail"
