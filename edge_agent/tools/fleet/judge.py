"""Judges a wave of devices by their own health, before and after, and by the wave before. Does no I/O."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.install.trial import UNKNOWN_POINTS
from edge_agent.tools.fleet.devices import Device


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on a wave is worse."""

    unknown_points: float = UNKNOWN_POINTS
    """So much may the median share of unknown frames rise, in points of a hundred."""
    gone_percent: float = 5.0
    """Of a wave, so many devices may be gone afterwards: some always are."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A device before and after; `now_s` is in seconds since 1970.

    It should not have restarted within the `waited_s` before that. With another model it has to, and is
    followed from when it has that.
    """

    before: Device
    after: Device
    waited_s: float
    now_s: float

    @property
    def is_there(self) -> bool:
        return self.after.is_there(self.now_s)

    @property
    def has_restarted(self) -> bool:
        """Whether the agent has started since; by its own uptime, less what health may be late."""
        uptime_s, age_s = self.after.uptime_s, self.after.age_s(self.now_s)
        return uptime_s is not None and age_s is not None and uptime_s + age_s < self.waited_s


def has_read(device: Device, group: str, revision: str, sequence: int = 0) -> bool:
    """Whether the device says that it has read that document, or a later one of that revision.

    Each wave has a document of its own, all of the same revision.
    """
    return (group, revision) in device.groups and device.sequences.get(group, 0) >= sequence


def has_taken(device: Device, group: str, revision: str, sequence: int = 0) -> bool:
    """Whether it has read that document, and goes on with the model in it."""
    return has_read(device, group, revision, sequence) and group not in device.pending


def objections(
    seen: Sequence[Seen],
    group: str,
    revision: str,
    limits: Limits,
    former_unknown: float | None,
    sequence: int = 0,
) -> list[str]:
    """Why this wave is worse; empty where it is not. `former_unknown` is `unknown_of` of the wave before,
    `sequence` the number of this wave's document."""
    there = [each for each in seen if each.is_there]
    found = [f"{each.after.name} refuses: {each.after.refused}" for each in there if each.after.refused]
    found += [
        f"{each.after.name} has not taken it"
        for each in there
        if not each.after.refused and not has_taken(each.after, group, revision, sequence)
    ]
    gone = [each.after.name for each in seen if not each.is_there]
    if len(gone) > len(seen) * limits.gone_percent / 100:
        found.append(f"gone: {', '.join(gone[:10])}")
    found += [f"{each.after.name} has restarted" for each in there if each.has_restarted]
    found += [f"{each.after.name}: {ailment}" for each in there for ailment in ailments(each)]
    found += unknown_objection(seen, limits, former_unknown)
    return found


def ailments(seen: Seen) -> list[str]:
    """What has gone wrong with a device that is there."""
    before, after = seen.before, seen.after
    found = []
    if before.camera == "running" and after.camera != "running":
        found.append(f"camera {after.camera}")
    if after.memory_state == "hard" and before.memory_state != "hard":
        found.append("memory above its budget")
    return found


def unknown_of(devices: Sequence[Device]) -> float | None:
    """The median share of unknown frames, 0 to 100; None where no device has said it."""
    shares = [device.unknown_percent for device in devices if device.unknown_percent is not None]
    return statistics.median(shares) if shares else None


def unknown_objection(seen: Sequence[Seen], limits: Limits, former: float | None) -> list[str]:
    """That more frames are unknown than before, and than in the wave before, if they are."""
    before = unknown_of([each.before for each in seen])
    after = unknown_of([each.after for each in seen if each.is_there])
    known = [share for share in (before, former) if share is not None]
    if after is None or not known or after <= max(known) + limits.unknown_points:
        return []
    return [f"unknown rose from {max(known):.0f} to {after:.0f} %"]


def waves(names: Sequence[str], shares: Sequence[float]) -> list[list[str]]:
    """Split devices, in their order: one, then up to each of `shares` (0 to 1) of all, then the rest."""
    ends = [1, *(round(share * len(names)) for share in shares), len(names)]
    made: list[list[str]] = []
    begin = 0
    for end in ends:
        if end > begin:
            made.append(list(names[begin:end]))
            begin = end
    return made
