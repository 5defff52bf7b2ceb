"""Which model an agent runs, for commands that look from outside, and how one from elsewhere may be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from edge_agent.config.loader import load
from edge_agent.errors import ArtifactError, ConfigError, ModelError
from edge_agent.inference.choice import Choice
from edge_agent.install import record as record_file
from edge_agent.install.store import DIRECTORY, RECORD
from edge_agent.model.sidecar import Artifact, read_sidecar, without_programs
from edge_agent.system.json_reader import JsonError
from edge_agent.system.paths import SYSTEM_CONFIG, find_model, state_dir_of

FROM_ELSEWHERE = "it came over MQTT, and runs in place of model.path"


def model_in_use(configured: Path, environment: Mapping[str, str]) -> Path:
    """The model that the agent with that model.path starts with. Raises ModelError without rights to know."""
    directory = state_dir_of(configured, environment) / DIRECTORY
    try:
        place = record_file.load(directory / RECORD).place_for(configured)
    except (FileNotFoundError, JsonError):  # what is damaged the agent takes for nothing
        return configured
    except OSError as error:
        raise ModelError(
            f"{directory / RECORD}: cannot be read: {error.strerror}; it says which model came over MQTT in"
            f" place of {configured}: use sudo"
        ) from None
    return directory / place if place else configured


def find_model_in_use(
    given: Path | None,
    environment: Mapping[str, str],
    enter: Callable[[Path], None],
    config_file: Path = SYSTEM_CONFIG,
) -> Path:
    """The model directory that a one-shot command should use: the one named, else what the agent runs.

    `enter` gives up root's rights where the way to a model is somebody else's, before anything there is read.
    Raises ArtifactError where there is no model, ModelError without rights to know.
    """
    if given is not None or environment.get("EDGE_AGENT_MODEL"):
        found = find_model(given, environment)
        enter(found)
        return found
    try:
        configured = load(config_file).model.path
    except ConfigError:  # there is none, or it is for others' eyes
        configured = find_model(None, environment)
    enter(configured)
    found = model_in_use(configured, environment)
    enter(found)
    return found


def is_from_elsewhere(directory: Path) -> bool:
    """Whether a model lies among those that came over MQTT."""
    try:
        return (directory.parent / RECORD).is_file()
    except OSError:
        return False


def read_as_run(directory: Path) -> Artifact:
    """A model as the agent runs it: one from elsewhere as its plans alone. Raises ArtifactError."""
    artifact = read_sidecar(directory)
    if not is_from_elsewhere(directory):
        return artifact
    return replace(artifact, sidecar=without_programs(artifact.sidecar))


def refuse_program(choice: Choice) -> None:
    """Raise ArtifactError where a model from elsewhere would run on the torchscript engine.

    That runs whatever program the file holds, and who may ask for a model may not log in here.
    """
    if choice.engine == "torchscript":
        raise ArtifactError(
            "it has no plan that runs here, and its TorchScript is a program: have `edge-agent model install`"
            " install it on the device, if you trust it"
        )
