"""Loading a model again in another precision, while nothing else of the agent changes."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest

from edge_agent.config.schema import LabelsConfig, MemoryConfig, ModelConfig
from edge_agent.errors import ArtifactError, EngineError
from edge_agent.frame import Frame
from edge_agent.inference import Admit, Engine
from edge_agent.inference.choice import Choice
from edge_agent.inference.loading import label_map, load_model, reload_as
from edge_agent.model.sidecar import Artifact, EngineName
from edge_agent.sources.picture import read_picture
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES
from tests.daemon.assembled import FakeEngine, fake_model
from tests.installed import needs_xnnpack

CAT = next(picture for picture in BUNDLED_PICTURES if picture.name == "cat.jpg")


@pytest.mark.parametrize("engine", [pytest.param("xnnpack", marks=needs_xnnpack), "torchscript"])
def test_a_model_is_freed_and_loaded_again_in_another_precision(lite0: Artifact, engine: EngineName) -> None:
    if engine == "torchscript":
        pytest.importorskip("torch")
    configured = ModelConfig(path=lite0.directory, engine=engine, precision="fp32", threads=1)
    model = load_model(configured, MemoryConfig(budget_mb=4096), LabelsConfig(), {})
    labels = label_map(model.artifact, LabelsConfig(map=dict.fromkeys(CAT.labels, "cat")))
    old_engine = weakref.ref(model.engine)
    smaller = reload_as(model, "fp16", labels, ())
    try:
        assert (smaller.engine.info.engine, smaller.engine.info.precision) == (engine, "fp16")
        assert smaller.choice.reason == f"fp16 to stay within the memory budget; was {engine} fp32"
        assert smaller.choice.threads == model.choice.threads
        prediction = smaller.classifier.classify(Frame(1, 0.0, 1.0, read_picture(CAT.path)))
        assert prediction.top[0].label == "cat"
    finally:
        smaller.close()
    del model
    gc.collect()
    assert old_engine() is None


def test_the_old_model_is_closed_before_the_new_one_takes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fake_model()
    assert isinstance(model.engine, FakeEngine)

    def load_engine(*_: object, admit: Admit, **__: object) -> Engine:
        admit(10.0)
        assert isinstance(model.engine, FakeEngine)
        assert model.engine.closed
        raise EngineError("the library has failed")

    monkeypatch.setattr("edge_agent.inference.loading.load_engine", load_engine)
    with pytest.raises(EngineError, match="has failed"):
        reload_as(model, "fp16", label_map(model.artifact, LabelsConfig()), ())


def test_a_model_whose_other_precision_cannot_be_read_stays_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = fake_model()  # whose directory does not exist
    assert reload_as(model, "fp16", label_map(model.artifact, LabelsConfig()), ()) is model
    assert isinstance(model.engine, FakeEngine)
    assert not model.engine.closed
    assert "the model stays as it is: /nowhere" in caplog.text


def test_a_choice_that_is_refused_is_not_loaded(lite0: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_choice: Choice) -> None:
        raise ArtifactError("not that one")

    def load_engine(*_: object, **__: object) -> Engine:
        raise AssertionError("it was loaded")

    monkeypatch.setattr("edge_agent.inference.loading.load_engine", load_engine)
    configured = ModelConfig(path=lite0.directory)
    with pytest.raises(ArtifactError, match="not that one"):
        load_model(configured, MemoryConfig(budget_mb=4096), LabelsConfig(), {}, check=refuse)


@pytest.mark.parametrize("engine", [pytest.param("xnnpack", marks=needs_xnnpack), "torchscript"])
def test_a_model_whose_other_precision_takes_more_stays_as_it_is(
    lite0: Artifact, engine: EngineName, caplog: pytest.LogCaptureFixture
) -> None:
    model = replace(fake_model(engine=engine), artifact=lite0, needed_mb=1.0)
    assert reload_as(model, "fp16", label_map(model.artifact, LabelsConfig()), ()) is model
    assert isinstance(model.engine, FakeEngine)
    assert not model.engine.closed
    assert f"the model stays as it is: {engine} fp16 would take " in caplog.text
