"""Gives a running agent another model: checked first, watched for a while, and taken back if it is worse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config.edit import edit_file, write_edited
from edge_agent.config.loader import load
from edge_agent.config.schema import Config
from edge_agent.errors import ArtifactError, BrokerError, EdgeAgentError, ModelError
from edge_agent.inference.choice import choose_here, load_engine
from edge_agent.inference.loading import label_map
from edge_agent.install.canary import sing
from edge_agent.install.store import ModelStore
from edge_agent.install.trial import START_S
from edge_agent.model.sidecar import Artifact, check_whole, read_sidecar
from edge_agent.sources.picture_files import pictures_in
from edge_agent.system.clock import Clock
from edge_agent.system.files import read_or_empty, write_atomic
from edge_agent.system.lock import is_held
from edge_agent.system.paths import state_dir_of
from edge_agent.system.text import printable
from edge_agent.tools.fleet.devices import Device
from edge_agent.tools.fleet.field import Field
from edge_agent.tools.installer import place, watch

PREVIOUS_NAME = ".previous-model"
_MOST_PICTURES = 20
_LOOK_S = 2.0

Say = Callable[[str], None]


class WorseError(EdgeAgentError):
    """The agent was worse with the new model, and has its old one again; or could not be given that."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for."""

    config_file: Path
    canary: Path
    """A folder of pictures."""
    watch_s: float = 60.0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Installer:
    """Installs models for the agent of one configuration file."""

    options: Options
    clock: Clock
    sleep: Callable[[float], object]
    environment: Mapping[str, str]
    say: Say

    def install(self, source: Path) -> None:
        """Give the agent the model in the directory `source`.

        Raises ArtifactError, BudgetError, ConfigError, EngineError or ModelError before anything has changed,
        and WorseError when it was taken back.
        """
        config = load(self.options.config_file)
        artifact = read_sidecar(source)
        check_whole(artifact)
        present = config.model.path
        if _sha256(present) == artifact.sidecar.sha256:
            self._refuse_beside_another(present)
            self.say(f"{present} is this model already: nothing to do")
            return
        target = place.place_of(artifact, present)
        place.copy(artifact, target)
        try:
            self._try(read_sidecar(target), config)
        except BaseException:
            place.remove(target)
            raise
        if self.options.dry_run:
            place.remove(target)
            self.say("nothing was changed")
            return
        self._switch(config, target)
        older = self._previous(present)
        if older is not None and older not in (target, present) and place.is_placed(older):
            place.remove(older)
        self._keep_previous(present)

    def back(self) -> None:
        """Give the agent the model that it had before the last installation. Raises what `install` does."""
        config = load(self.options.config_file)
        present = config.model.path
        target = self._previous(present)
        if target is None:
            raise ModelError(f"{present.parent}: no model was installed here before this one")
        self._try(read_sidecar(target), config)
        if not self.options.dry_run:
            self._switch(config, target)
            self._keep_previous(present)

    def _try(self, artifact: Artifact, config: Config) -> None:
        """Run the canaries, and show what the model says of them."""
        pictures = pictures_in(self.options.canary)[:_MOST_PICTURES]

        def run() -> None:
            choice = choose_here(artifact, config.model, config.memory, self.environment)
            labels = label_map(artifact, config.labels)
            engine = load_engine(
                artifact,
                choice.engine,
                choice.precision,
                threads=choice.threads,
                arithmetic=choice.arithmetic,
            )
            with closing(engine):
                for each in sing(artifact, engine, labels, pictures):
                    self.say(f"  {printable(each.picture.name)}: {each}")

        self.say(f"{printable(artifact.sidecar.name)} says of the pictures in {self.options.canary}:")
        place.as_owner_of(artifact.directory, run)

    def _switch(self, config: Config, target: Path) -> None:
        """Let the file name the model, and follow what the agent makes of it."""
        if not is_held(state_dir_of(config.model.path, self.environment)):
            self._name(config.model.path, target)
            self.say(f"no agent runs here: it will start with {target}")
            return
        field = Field(config.mqtt, self.clock, self.sleep, self.environment, only=config.device_id)
        with closing(field):
            field.look(_LOOK_S)
            before = field.devices.get(config.device_id) or Device(config.device_id)
            switch = watch.Switch(before, read_sidecar(target).sidecar.sha256[:8], self.clock.time_s())
            self._name(config.model.path, target)
            try:
                found = self._follow(field, switch)
            except (KeyboardInterrupt, BrokerError) as error:
                found = ["interrupted"] if isinstance(error, KeyboardInterrupt) else [str(error)]
            if found:
                self._take_back(config, target, found)
        self.say(f"{config.device_id} runs {target.name}, and is as well as before")

    def _follow(self, field: Field, switch: watch.Switch) -> list[str]:
        """Wait until the agent runs the model, and then as long as is asked for; returns what is worse."""
        name = switch.before.name
        self.say("waiting until the agent runs it")
        while not watch.has_started(switch, device := field.devices.get(name) or switch.before):
            if self.clock.time_s() - switch.at_s > START_S:
                return [f"it does not run it after {START_S:.0f} s; its log says why"]
            field.look(_LOOK_S)
        first, end_s = device, self.clock.time_s() + self.options.watch_s
        self.say(f"it runs; watching it for {self.options.watch_s:.0f} s")
        found: list[str] = []
        while not found and self.clock.time_s() < end_s:
            field.look(min(_LOOK_S, max(end_s - self.clock.time_s(), 0.1)))
            found = watch.objections(switch, first, field.devices[name], self.clock.time_s())
        return found

    def _take_back(self, config: Config, target: Path, found: list[str]) -> None:
        reasons = "; ".join(found)
        try:
            self._name(target, config.model.path)
        except EdgeAgentError as error:
            raise WorseError(
                f"{reasons}. The old model could not be named again ({error}): set model.path to"
                f" {config.model.path}"
            ) from None
        raise WorseError(f"{reasons}. The agent gets {config.model.path} again; {target} is left to look at")

    def _name(self, present: Path, target: Path) -> None:
        """Write model.path, unless somebody else has changed it meanwhile. Raises ConfigError."""
        file = self.options.config_file
        if load(file).model.path != present:
            raise ModelError(f"{file}: model.path is not {present} any more: somebody has edited it")
        _, text = edit_file(file, {"model.path": str(target)})
        write_edited(file, text)

    def _refuse_beside_another(self, present: Path) -> None:
        """Raise ModelError where the agent does not run the model that model.path names."""
        store = ModelStore(state_dir_of(present, self.environment), self.clock)
        if (in_use := store.path_in_use(present)) != present:
            raise ModelError(
                f"model.path names this model, and the agent runs {in_use.name}, which came over MQTT: remove"
                f" {store.directory}, and restart the agent"
            )

    def _previous(self, present: Path) -> Path | None:
        """The model before the present one, if it is still there."""
        named = Path(read_or_empty(present.parent / PREVIOUS_NAME).strip())
        is_there = named.is_absolute() and named != present and _sha256(named) != ""
        return named if is_there else None

    def _keep_previous(self, present: Path) -> None:
        note = present.parent / PREVIOUS_NAME
        try:
            place.as_owner_of(note, lambda: write_atomic(note, f"{present}\n"))
        except (OSError, ModelError) as error:
            self.say(f"{note}: cannot be written ({error}): `--back` will not know the way")


def _sha256(directory: Path) -> str:
    """The hash of the model in a directory; empty where there is none that can be read."""
    try:
        return read_sidecar(directory).sidecar.sha256
    except ArtifactError:
        return ""
