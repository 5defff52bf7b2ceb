"""Commands find the model that the agent runs: that of model.path, or the one that came over MQTT."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import ArtifactError, ModelError
from edge_agent.install.in_use import find_model_in_use, is_from_elsewhere, model_in_use, read_as_run
from edge_agent.install.store import ModelStore
from edge_agent.install.trial import Wellbeing
from edge_agent.model.sidecar import Artifact
from tests.clock import FakeClock
from tests.install.came import came_over_mqtt
from tests.install.test_store import OWN, tried


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"STATE_DIRECTORY": str(tmp_path / "state"), "HOME": str(tmp_path)}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "state", FakeClock())


def test_without_a_model_from_elsewhere_it_is_the_configured_one(environment: dict[str, str]) -> None:
    assert model_in_use(OWN, environment) == OWN


def test_it_is_the_model_that_the_next_start_takes_also_while_that_is_tried_and_taken_back(
    environment: dict[str, str], store: ModelStore
) -> None:
    place = tried(store)
    assert model_in_use(OWN, environment) == store.directory / place == store.path_in_use(OWN)
    store.finish()
    assert model_in_use(OWN, environment) == store.directory / place
    store.begin_trial(OWN, "", Wellbeing(), "")
    assert model_in_use(OWN, environment) == OWN
    store.take_back("worse")
    assert model_in_use(OWN, environment) == store.directory / place


def test_an_owner_who_names_another_model_has_it(environment: dict[str, str], store: ModelStore) -> None:
    tried(store)
    assert model_in_use(Path("/mine"), environment) == Path("/mine")


def test_a_damaged_record_is_none_as_for_the_agent(environment: dict[str, str], store: ModelStore) -> None:
    tried(store)
    (store.directory / "in-use.json").write_text("{")
    assert model_in_use(OWN, environment) == OWN


def test_without_rights_to_know_it_is_not_guessed(environment: dict[str, str], store: ModelStore) -> None:
    (store.directory / "in-use.json").mkdir(parents=True)  # root may read whatever is a file
    with pytest.raises(ModelError, match=r"in-use\.json: cannot be read: .*use sudo"):
        model_in_use(OWN, environment)


def test_a_command_takes_the_model_that_it_is_given_else_that_of_the_configured_agent(
    environment: dict[str, str], store: ModelStore, tmp_path: Path
) -> None:
    config = tmp_path / "edge-agent.yaml"
    config.write_text(f"model: {{path: {OWN}}}\n")
    entered: list[Path] = []

    def found(given: Path | None, environment: dict[str, str]) -> Path:
        entered.clear()
        return find_model_in_use(given, environment, entered.append, config)

    assert found(None, environment) == OWN
    place = store.directory / tried(store)
    assert found(None, environment) == place
    assert entered == [OWN, place]
    assert found(Path("/mine"), environment) == Path("/mine")
    assert entered == [Path("/mine")]
    assert found(None, environment | {"EDGE_AGENT_MODEL": "/named"}) == Path("/named")
    assert entered == [Path("/named")]


def test_no_record_is_read_before_root_has_given_up_its_rights(
    environment: dict[str, str], store: ModelStore, tmp_path: Path
) -> None:
    config = tmp_path / "edge-agent.yaml"
    config.write_text(f"model: {{path: {OWN}}}\n")
    places: list[str] = []

    def enter(_path: Path) -> None:
        if not places:
            places.append(tried(store))

    assert find_model_in_use(None, environment, enter, config) == store.directory / places[0]


def test_where_no_agent_is_configured_the_model_is_looked_for(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="no model found"):
        find_model_in_use(None, environment, lambda _path: None, tmp_path / "none.yaml")


def test_a_model_from_elsewhere_is_read_without_its_programs_and_another_whole(
    lite0: Artifact, tmp_path: Path
) -> None:
    place = came_over_mqtt(lite0, tmp_path / "state", OWN)
    assert is_from_elsewhere(place)
    assert read_as_run(place).sidecar.files.keys() == {"xnnpack-fp16", "xnnpack-fp32"}
    assert read_as_run(place).sidecar.sha256 == lite0.sidecar.sha256
    assert not is_from_elsewhere(lite0.directory)
    assert read_as_run(lite0.directory) == lite0
