"""Changes a group of devices in waves; stops, and takes back, when a wave gets worse.

What is wanted of the group, and how far a push has come, is in a directory of the owner's: a push that was
interrupted goes on where it was, and the next one builds on it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from edge_agent.errors import UsageError
from edge_agent.model.sidecar import SIDECAR_NAME, describe_file
from edge_agent.model.source import ModelSource, model_source
from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.payloads import timestamp, utc
from edge_agent.mqtt.contract.topics import wanted_topic
from edge_agent.mqtt.contract.wanted import Target, Wanted, signed
from edge_agent.system.clock import Clock
from edge_agent.system.files import write_atomic
from edge_agent.system.json_reader import JsonError, parse, read
from edge_agent.teach import head_file
from edge_agent.tools import Report
from edge_agent.tools.fleet.devices import Device
from edge_agent.tools.fleet.field import Field
from edge_agent.tools.fleet.judge import Limits, Seen, has_read, has_taken, objections, unknown_of, waves

MODEL_TAKE_S = 3600.0
"""A device that has not a model after so long, fetched and tried, has not taken it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a push goes on."""

    shares: tuple[float, ...] = (0.1,)
    """The waves between the first device and all."""
    gather_s: float = 5.0
    """So long the devices are listened to at first."""
    take_s: float = 180.0
    """A device that has not said after so long that it has the change has not taken it."""
    watch_s: float = 180.0
    """So long a wave is watched before it is judged: a few intervals of health."""
    step_s: float = 1.0
    """How often is looked whether a wave has it."""

    def with_model(self) -> Pace:
        """With the time that a slow line and a trial on the device take."""
        return replace(self, take_s=MODEL_TAKE_S)


@dataclass(frozen=True, slots=True)
class Running:
    """A push that has begun and not ended."""

    revision: str
    settings: Mapping[str, object]
    waves: tuple[tuple[str, ...], ...]
    heads: Mapping[str, str] = field(default_factory=dict)
    """Files of heads in base64, by their regions."""
    model: Mapping[str, object] | None = None
    """As `ModelSource.plain` has it."""
    wave: int = 0
    """The wave that is under way, from 0."""
    former_unknown: float | None = None


@dataclass(frozen=True, slots=True)
class GroupState:
    """What is wanted of a group."""

    sequence: int = 0
    revision: str = "none"
    settings: Mapping[str, object] = field(default_factory=dict)
    heads: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, object] | None = None
    running: Running | None = None


class Ledger:
    """The directory: `<group>.json` with what is wanted, `audit.jsonl` with all that was done."""

    def __init__(self, directory: Path, group: str, clock: Clock) -> None:
        self._file = directory / f"{group}.json"
        self._audit = directory / "audit.jsonl"
        self._group = group
        self._clock = clock

    def load(self) -> GroupState:
        """Raises UsageError for a file that cannot be read: without it, devices would be told too little."""
        try:
            return read(GroupState, parse(self._file.read_bytes()))
        except FileNotFoundError:
            return GroupState()
        except (OSError, JsonError) as error:
            raise UsageError(f"{self._file} cannot be read: {error}") from None

    def save(self, state: GroupState) -> None:
        write_atomic(self._file, json.dumps(asdict(state), indent=2), 0o600)

    def note(self, what: str, **details: object) -> None:
        """Write a line into the log of what was done."""
        line = {"ts": timestamp(utc(self._clock.time_s())), "group": self._group, "what": what} | details
        with self._audit.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


@dataclass(slots=True)
class Push:
    """One push. `sign` returns the Ed25519 signature of a text."""

    devices: Field
    ledger: Ledger
    base_topic: str
    group: str
    sign: Callable[[bytes], bytes]
    clock: Clock
    report: Report
    pace: Pace = field(default_factory=Pace)
    limits: Limits = field(default_factory=Limits)

    def plan(
        self,
        revision: str,
        settings: Mapping[str, object],
        heads: Mapping[str, str] | None = None,
        model: ModelSource | None = None,
    ) -> Running:
        """The waves of a new push: the devices of the group that are there. Raises UsageError for none.

        Their order is by chance, but the same each time: the first should not always be the same device.
        """
        self.devices.look(self.pace.gather_s)
        now_s = self.clock.time_s()
        members = [name for name, device in self.devices.devices.items() if self._is_member(device)]
        there = [name for name in members if self.devices.devices[name].is_there(now_s)]
        if not there:
            raise UsageError(f"no device of the group {self.group} is there ({len(members)} are known)")
        there.sort(key=lambda name: hashlib.sha256(f"{revision}/{name}".encode()).digest())
        self.report(f"{len(there)} of {len(members)} devices of {self.group} are there")
        split = tuple(map(tuple, waves(there, self.pace.shares)))
        return Running(revision, dict(settings), split, heads or {}, model.plain() if model else None)

    def begin(self, running: Running) -> None:
        """Write down that this push has begun. Raises UsageError where another has not ended."""
        state = self.ledger.load()
        if state.running is not None:
            raise UsageError(f"{state.running.revision} has not ended: go on with --resume, or --take-back")
        signed(self._document(state, running), lambda _: b"\0" * 64)  # raises where it would be too large
        self.ledger.save(replace(state, running=running))
        what = {"settings": running.settings, "heads": sorted(running.heads)}
        if running.model is not None:
            what["model"] = {"sha256": running.model["sha256"], "bytes": running.model["bytes"]}
        self.ledger.note("begun", revision=running.revision, waves=running.waves, **what)

    def go_on(self) -> bool:
        """Carry out the push that has begun; returns whether it was good to the end. Raises UsageError."""
        while (running := self.ledger.load().running) is not None:
            names = running.waves[running.wave]
            self.report(f"wave {running.wave + 1} of {len(running.waves)}: {len(names)} devices")
            seen = self._change(running, names)
            worse = objections(
                seen,
                self.group,
                running.revision,
                self.limits,
                running.former_unknown,
                self.ledger.load().sequence,
            )
            if worse:
                self.take_back(worse)
                return False
            self._next(running, [each.after for each in seen])
        return True

    def take_back(self, reasons: Sequence[str]) -> None:
        """Give the devices what they had, and forget the push. Raises UsageError where none has begun."""
        state = self.ledger.load()
        if state.running is None:
            raise UsageError(f"no push to the group {self.group} is under way")
        for reason in reasons[:20]:
            self.report(reason)
        self._publish(replace(state, running=None), None)
        self.ledger.note("taken back", revision=state.running.revision, reasons=list(reasons[:20]))
        self.report(f"{state.running.revision} is taken back")

    def _change(self, running: Running, names: Sequence[str]) -> list[Seen]:
        """Let a wave have the change, wait until it has, and watch it."""
        self.devices.look(self.pace.step_s)
        before = {name: self._device(name) for name in names}
        self._publish(self.ledger.load(), running)
        self.ledger.note("wave", revision=running.revision, wave=running.wave + 1, devices=list(names))
        begun_s = self.clock.monotonic_s()
        taken_s = self._wait(names, running, begun_s)
        if not self._refusing([self._device(name) for name in names], running):
            self.devices.look(self.pace.watch_s)
        end_s, now_s = self.clock.monotonic_s(), self.clock.time_s()
        return [
            Seen(before[name], self._device(name), end_s - taken_s.get(name, begun_s), now_s)
            for name in names
        ]

    def _wait(self, names: Sequence[str], running: Running, begun_s: float) -> Mapping[str, float]:
        """Wait until a wave has the change, or refuses it; returns since when each that was given a model has
        that: it had to restart for it."""
        taken_s, sequence = dict[str, float](), self.ledger.load().sequence
        while (now_s := self.clock.monotonic_s()) - begun_s < self.pace.take_s:
            devices = [self._device(name) for name in names]
            taken = [each for each in devices if has_taken(each, self.group, running.revision, sequence)]
            if running.model is not None:
                taken_s.update({each.name: now_s for each in taken if each.name not in taken_s})
            done = sum(each.refused != "" or each in taken for each in devices)
            if done == len(names) or self._refusing(devices, running):
                break
            self.devices.look(self.pace.step_s)
        return taken_s

    def _refusing(self, devices: Sequence[Device], running: Running) -> bool:
        """Whether a device has read the document and refuses a part: the wave is worse, whatever comes."""
        sequence = self.ledger.load().sequence
        return any(
            each.refused and has_read(each, self.group, running.revision, sequence) for each in devices
        )

    def _next(self, running: Running, devices: Sequence[Device]) -> None:
        """A wave was good: the next one, or the end, from which on it is what is wanted of everybody."""
        state = self.ledger.load()
        self.ledger.note("good", revision=running.revision, wave=running.wave + 1, devices=len(devices))
        unknown = unknown_of(devices)
        if running.wave + 1 < len(running.waves):
            former = running.former_unknown if unknown is None else unknown
            running = replace(running, wave=running.wave + 1, former_unknown=former)
            self.ledger.save(replace(state, running=running))
            return
        settings, heads = {**state.settings, **running.settings}, {**state.heads, **running.heads}
        model = running.model or state.model
        state = replace(
            state, revision=running.revision, settings=settings, heads=heads, model=model, running=None
        )
        self._publish(state, None)
        self.ledger.note("done", revision=running.revision)
        self.report(f"{running.revision} is done")

    def _publish(self, state: GroupState, running: Running | None) -> None:
        """Sign and publish what is wanted now, with a number above all before, which is kept first."""
        sequence = max(state.sequence + 1, int(self.clock.time_s() * 1000))
        state = replace(state, sequence=sequence)
        self.ledger.save(state)
        message = signed(self._document(state, running), self.sign)
        self.devices.publish(Message(wanted_topic(self.base_topic, self.group), message, retain=True))

    def _document(self, state: GroupState, running: Running | None) -> Wanted:
        everyone = Target(state.settings, state.heads, _source(state.model))
        if running is None:
            return Wanted(self.group, max(state.sequence, 1), state.revision, everyone)
        settings, heads = {**state.settings, **running.settings}, {**state.heads, **running.heads}
        trial = Target(settings, heads, _source(running.model or state.model))
        devices = frozenset(name for wave in running.waves[: running.wave + 1] for name in wave)
        return Wanted(self.group, max(state.sequence, 1), running.revision, everyone, trial, devices)

    def _device(self, name: str) -> Device:
        return self.devices.devices.get(name) or Device(name)

    def _is_member(self, device: Device) -> bool:
        return any(group == self.group for group, _ in device.groups)


def _source(model: Mapping[str, object] | None) -> ModelSource | None:
    return None if model is None else model_source(model)


def read_model(url: str | None, bundle: Path | None) -> ModelSource | None:
    """The model at that address, pinned by the bundle here; None where neither is given.

    Raises UsageError for one without the other or a file that is no bundle, ModelError for another address.
    """
    if url is None and bundle is None:
        return None
    if url is None or bundle is None:
        raise UsageError("--model and --model-file belong together: the address, and the same bundle here")
    try:
        with tarfile.open(bundle, "r:") as opened:
            first = opened.next()
        described = describe_file(bundle)
    except (OSError, tarfile.TarError) as error:
        raise UsageError(f"{bundle} is no bundle that can be read: {error}") from None
    if first is None or first.name != SIDECAR_NAME:
        raise UsageError(f"{bundle} is no bundle: make one with `edge-agent model bundle`")
    return model_source({"url": url, "sha256": described.sha256, "bytes": described.bytes})


def read_heads(pairs: Sequence[str]) -> dict[str, str]:
    """Heads from the command line: `frame=all.head` or `gate=gate.head`. Raises UsageError, HeadFileError."""
    found: dict[str, str] = {}
    for pair in pairs:
        region, sign, name = pair.partition("=")
        if not sign:
            raise UsageError(f"{pair}: write REGION=FILE, with frame for the whole picture")
        taught = head_file.load(Path(name))
        found[region] = base64.b64encode(head_file.to_bytes(taught)).decode()
    return found


def read_settings(pairs: Sequence[str]) -> dict[str, object]:
    """Settings from the command line: `stabilizer.window=5`, with JSON behind the sign. Raises UsageError."""
    found: dict[str, object] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise UsageError(f"{key}: write KEY=VALUE, as in stabilizer.window=5")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found
