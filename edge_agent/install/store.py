"""The directory of models that came from elsewhere, and which one the agent runs. Never touches model.path.

A model is unpacked aside, and comes to its place, which is named by its hash, by one rename. Which one is in
use is in one small file that is replaced whole. So the agent, killed at any moment, has the old model or the
new one the next time, and a trial that was under way goes on then, or is taken back.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edge_agent.errors import ArtifactError, ModelError
from edge_agent.install import record as record_file
from edge_agent.install.bundle import Unpacked
from edge_agent.install.record import Outcome, Record, State, Trial
from edge_agent.install.trial import MOST_STARTS, Wellbeing
from edge_agent.model.sidecar import SIDECAR_NAME, Artifact, Sidecar, read_sidecar
from edge_agent.system.clock import Clock
from edge_agent.system.files import sync
from edge_agent.system.json_reader import JsonError
from edge_agent.system.log import say
from edge_agent.system.text import printable

DIRECTORY = "models"
RECORD = "in-use.json"
_INCOMING = ".incoming"
_LONGEST_WHY = 300
_MOST_BUNDLES = 8
_LOG = logging.getLogger(__name__)


def place_name(sidecar: Sidecar) -> str:
    """What the directory of an installed model is called: its name and the beginning of its hash."""
    name = re.sub(r"[^a-z0-9_]+", "-", sidecar.name.lower()).strip("-")[:40] or "model"
    return f"{name}-{sidecar.sha256[:8]}"


class ModelStore:
    """One agent's models from elsewhere. Used by the main thread, and by no two agents at a time."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self.directory = state_dir / DIRECTORY
        self.clock = clock
        self._file = self.directory / RECORD
        self.record = self._load()

    def path_in_use(self, configured: Path) -> Path:
        """The model that an agent with that model.path runs."""
        place = self.record.place_for(configured)
        return self.directory / place if place else configured

    def begin(self, configured: Path) -> Path:
        """Call it at each start: counts the starts of a trial, ends one that cannot be gone on with, and
        removes what is left of a download. Returns the model to run."""
        if (outcome := self.record.outcome) is not None and outcome.state in ("downloading", "checking"):
            self._save(self._ended(self.record, "refused", "the agent has ended meanwhile", again=True))
        record = self.record
        if record.configured != str(configured):
            self._forget("model.path names another model now")
        elif record.trial is not None:
            self._begin_again(record, record.trial)
        self._fall_back_from_damage(configured)
        self.clean()
        return self.path_in_use(configured)

    def incoming(self) -> Path:
        """A new, empty directory for what is being fetched. Raises ModelError."""
        place = self.directory / _INCOMING
        try:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        except OSError as error:
            raise ModelError(
                f"{place}: cannot be made: {error.strerror}; the agent's user needs to write to its state"
                " directory (for the service: `StateDirectory=`)"
            ) from None
        return place

    def known(self, bundle_sha256: str) -> str:
        """The place of a bundle that was unpacked before, and is still there whole; empty where none is."""
        place = self.record.bundles.get(bundle_sha256, "")
        if not place:
            return ""
        try:
            artifact = read_sidecar(self.directory / place)
        except ArtifactError:
            return ""
        is_there = all((artifact.directory / name).is_file() for name in artifact.sidecar.listed)
        return place if is_there else ""

    def accept(self, files: Mapping[str, Unpacked], bundle_sha256: str) -> str:
        """Give what was unpacked into `incoming` its place; returns its name.

        Raises ArtifactError where its sidecar cannot be read, and ModelError where the files are not exactly
        those that the sidecar lists.
        """
        unpacked = self.directory / _INCOMING / "files"
        sidecar = read_sidecar(unpacked).sidecar
        _check_files(sidecar, files)
        name = place_name(sidecar)
        place = self.directory / name
        if place.exists():
            if name in self.record.kept:
                return self._note_bundle(bundle_sha256, name)
            shutil.rmtree(place)
        try:
            unpacked.rename(place)
            sync(self.directory)
        except OSError as error:
            raise ModelError(f"{place}: cannot be written: {error.strerror}") from None
        return self._note_bundle(bundle_sha256, name)

    def artifact(self, place: str) -> Artifact:
        """Raises ArtifactError."""
        return read_sidecar(self.directory / place)

    def begin_trial(self, configured: Path, place: str, before: Wellbeing, group: str) -> None:
        """Use that model from the next start on, until `finish` or `take_back`. An empty place is model.path.

        Raises ModelError where that cannot be written.
        """
        record = self.record
        own = record.own if record.own is not None or not group else record.in_use
        tried = Trial(record.in_use, before)
        begun = replace(record, configured=str(configured), in_use=place, own=own, trial=tried)
        self._write(self._ended(begun, "trial", record.outcome.why if record.outcome else ""))

    def finish(self) -> None:
        """The trial was good."""
        record = self.record
        if record.trial is not None:
            self._save(self._ended(replace(record, former=record.trial.former, trial=None), "installed"))
            self.clean()

    def take_back(self, why: str) -> None:
        """The model under trial is worse: the one from before is in use again with the next start."""
        record = self.record
        if record.trial is not None:
            say(_LOG, logging.WARNING, f"the model is taken back: {why}", model=record.in_use)
            former = record.trial.former
            own = None if record.own == former else record.own
            self._save(self._ended(replace(record, in_use=former, own=own, trial=None), "taken back", why))

    def is_from_before(self, place: str) -> bool:
        """Whether that model was in use before the present one: it need not be tried again."""
        return place in (self.record.former, self.record.own) and bool(place)

    def return_to(self, place: str) -> None:
        """Use a model from before, from the next start on. Raises ModelError."""
        record = self.record
        former = record.trial.former if record.trial else record.in_use
        self._write(self._ended(replace(record, in_use=place, former=former, trial=None), "installed"))

    def give_back(self, why: str) -> bool:
        """Use what was in use before a group gave another, from the next start on; returns whether that
        changes anything. Raises ModelError."""
        record = self.record
        if record.own is None:
            return False
        given = replace(record, in_use=record.own, former=record.in_use, own=None, trial=None)
        self._write(self._ended(given, "taken back", why))
        return record.in_use != record.own

    def leave_damaged(self, why: str) -> bool:
        """Go back from a model that cannot be used, from the next start on: from one under trial to that from
        before, else to model.path. Returns whether there is another than before to go back to."""
        record = self.record
        if record.trial is not None:
            self.take_back(why)
        elif record.in_use:
            say(_LOG, logging.ERROR, f"the model is left for model.path: {why}", model=record.in_use)
            self._save(self._ended(replace(record, in_use="", own=None), "taken back", why))
        return self.record != record

    def note(self, outcome: Outcome) -> None:
        """Keep what became of what was asked for."""
        self._save(replace(self.record, outcome=outcome))

    def clean(self) -> None:
        """Remove what nobody needs any more: what was being fetched, and models but for the present one and
        those before."""
        kept = self.record.kept
        for path in self._entries():
            if path.name == _INCOMING or ((path / SIDECAR_NAME).exists() and path.name not in kept):
                shutil.rmtree(path, ignore_errors=True)

    def _entries(self) -> list[Path]:
        try:
            return [path for path in self.directory.iterdir() if path.is_dir() and not path.is_symlink()]
        except OSError:
            return []

    def _fall_back_from_damage(self, configured: Path) -> None:
        if (path := self.path_in_use(configured)) != configured:
            try:
                read_sidecar(path)
            except ArtifactError as error:
                self.leave_damaged(str(error))

    def _forget(self, why: str) -> None:
        """Whatever was in use here, its owner has named another."""
        record = self.record
        if record.trial is not None:
            record = self._ended(record, "taken back", why)
        if (forgotten := Record(outcome=record.outcome)) != self.record:
            self._save(forgotten)

    def _begin_again(self, record: Record, trial: Trial) -> None:
        if trial.starts >= MOST_STARTS:
            self.take_back(f"the agent has ended {trial.starts} times while it was tried")
            return
        try:
            self._write(replace(record, trial=replace(trial, starts=trial.starts + 1)))
        except ModelError as error:  # uncounted starts would have no end
            self.take_back(str(error))

    def _note_bundle(self, sha256: str, place: str) -> str:
        latest = list({**self.record.bundles, sha256: place}.items())[-_MOST_BUNDLES:]
        self._save(replace(self.record, bundles=dict(latest)))
        return place

    def _ended(self, record: Record, state: State, why: str = "", *, again: bool = False) -> Record:
        """The record with what has become of the latest model that was asked for."""
        if record.outcome is None:
            return record
        why, at_s = printable(why, _LONGEST_WHY), self.clock.time_s()
        return replace(record, outcome=replace(record.outcome, state=state, why=why, again=again, at_s=at_s))

    def _load(self) -> Record:
        try:
            return record_file.load(self._file)
        except FileNotFoundError:
            return Record()
        except (OSError, JsonError) as error:
            say(
                _LOG,
                logging.ERROR,
                "which model is in use cannot be read: it is model.path",
                error=str(error),
            )
            return Record()

    def _save(self, record: Record) -> None:
        """Write the record; where that is impossible, it holds until the process ends, as the log says."""
        self.record = record
        try:
            record_file.save(self._file, record)
        except OSError as error:
            say(_LOG, logging.ERROR, "which model is in use could not be kept", error=str(error.strerror))

    def _write(self, record: Record) -> None:
        try:
            record_file.save(self._file, record)
        except OSError as error:
            raise ModelError(f"{self._file}: cannot be written: {error.strerror}") from None
        self.record = record


def _check_files(sidecar: Sidecar, files: Mapping[str, Unpacked]) -> None:
    listed = sidecar.listed
    if missing := sorted((listed.keys() | {SIDECAR_NAME}) - files.keys()):
        raise ModelError(f"the bundle lacks {', '.join(missing[:5])}, which its {SIDECAR_NAME} lists")
    if strange := sorted(files.keys() - listed.keys() - {SIDECAR_NAME}):
        raise ModelError(f"the bundle holds {', '.join(strange[:5])}, which its {SIDECAR_NAME} does not list")
    for name, entry in listed.items():
        if files[name] != Unpacked(entry.bytes, entry.sha256):
            raise ModelError(f"{name} in the bundle is not what its {SIDECAR_NAME} says")
