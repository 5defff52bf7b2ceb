"""What an owner has taught about one view: its examples, and the head that is made of them, kept together.

A view is the whole picture of a camera or a region of it. Its teaching lies in a directory: the store of
examples, and the head. A lesson is in the store before the head is fitted anew. So whatever ends a process in
between, `head` says afterwards that the head is not of these examples, and fitting mends it.

For the daemon, on a thread that also answers frames:

    lessons = Lessons(directory_of(state, region), backbone)
    loaded = lessons.head()                 # at start, and after `head` has changed on disk
    lessons.add("open", [Shot(feature, time_s, brightness, thumbnail)])
    for _ in (slices := lessons.fitting()): # a few milliseconds each; StopIteration.value is the Learnt
        ...

A command may teach while the agent runs: the store takes one lesson at a time.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from edge_agent.errors import EdgeAgentError, TeachError
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.paths import WHOLE_FRAME
from edge_agent.system.text import printable
from edge_agent.teach import fitting, head_file
from edge_agent.teach.examples import (
    NONE,
    Example,
    Examples,
    Feature,
    Kept,
    Limits,
    check_label,
    fingerprint,
    grouped,
)
from edge_agent.teach.head import Backbone, Head
from edge_agent.teach.head_file import HeadFileError
from edge_agent.teach.moments import Moment
from edge_agent.teach.report import Report, report
from edge_agent.teach.store import ExampleStore, MeanwhileError
from edge_agent.teach.unknown import Rules

HEAD_NAME = "head"

_ATTEMPTS = 3  # to fit while somebody else teaches
_AT_ONCE = 16  # pictures that are relearned in one transaction

_NAMED = 5  # of the labels that a period lacks

ENOUGH_OF_PERIOD = 3
"""Examples that each label of a view needs in a period, before that gets a head of its own."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """The owner's periods, each of which can have a head of its own."""

    periods: tuple[str, ...]
    of: Callable[[Kept], str]
    """Gives the period in which an example was taken; empty where it was none."""


@dataclass(frozen=True, slots=True, eq=False)
class PeriodHeads:
    """The heads of periods, and why others have none."""

    heads: Mapping[str, Head] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    """In words, for the owner."""


FeaturesOf = Callable[[bytes], Feature]
"""Gives the feature of a JPEG file by the present network; raises EdgeAgentError where it cannot be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A frame that is shown to be learnt from; see `examples.Example` for what each has to be."""

    feature: Feature
    time_s: float
    """When it was taken, in seconds since 1970."""
    brightness: float
    """The mean of its pixels, 0 to 255."""
    thumbnail: bytes = b""
    """A JPEG; with it another network can be taught the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a lesson, or undoing one, has changed. Examples come without thumbnails."""

    added: tuple[Example, ...] = ()
    """Those that are there now and were not before."""
    gone: tuple[Example, ...] = ()
    """Those that were there and are not any more: removed, or replaced since their label was full."""
    duplicates: int = 0
    """Shots that were left out, since they say nothing new."""

    @property
    def has_changed(self) -> bool:
        return bool(self.added or self.gone)


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """The head on disk, as far as it can be used, and whether there is more to learn."""

    head: Head | None
    """What to answer with; None where there is none that can be used."""
    is_current: bool
    """Whether it is what the examples give; if not, fit."""
    problem: str = ""
    """Why the file cannot be used: damage, or another model. Empty where it can, and where there is none."""
    foreign: int = 0
    """Examples that were taught to another network and not yet to this one: see `relearning`."""


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """A head that was fitted to the examples, and how good it is."""

    head: Head
    report: Report


@dataclass(frozen=True, slots=True)
class Relearnt:
    """What became of the examples of another network."""

    learnt: int
    lost: int
    """Those without a picture that can be read, or without room. They stay in the store."""


def directory_of(state: Path, region: str = "") -> Path:
    """Where the teaching of a region lies, below the state directory; of the whole picture without a name."""
    if region and (region == WHOLE_FRAME or not re.fullmatch(r"[a-z0-9_-]{1,32}", region)):
        raise TeachError(f"{printable(region, 40)!r} cannot be the name of a region")
    return state / "teach" / (region or WHOLE_FRAME)


class Lessons:
    """Teaches one view of one network. Used by one thread; other processes may teach the same view.

    Every method may raise TeachError, which says what to do; what is on disk then is as before.
    """

    def __init__(
        self, directory: Path, backbone: Backbone, *, limits: Limits | None = None, rules: Rules | None = None
    ) -> None:
        """Nothing is read or made on disk here."""
        self.directory = directory
        self.head_path = directory / HEAD_NAME
        self.backbone = backbone
        self._limits = limits or Limits()
        self._rules = rules or Rules()
        self._store = ExampleStore(directory, backbone)

    @property
    def damage(self) -> str:
        """What was found wrong with the store, and where it is kept; empty where nothing was."""
        return self._store.damage

    def examples(self) -> list[Example]:
        """The examples in the order in which they came, without thumbnails, in bursts by their times."""
        return grouped(self._store.load())

    def counts(self) -> dict[str, int]:
        """How many examples each label has."""
        return self._store.counts()

    def everything(self) -> list[Example]:
        """The examples together with those that only other networks know, see `relearning`."""
        return grouped([*self._store.load(), *self._foreign()])

    def thumbnail(self, key: str) -> bytes:
        """The JPEG of an example; empty where it has none."""
        return self._store.thumbnail(key)

    def add(self, label: str, shots: Sequence[Shot]) -> Lesson:
        """Teach that these frames show `label`, as one lesson: all of it is kept, or nothing.

        A frame that was taught as something else before is that no longer.
        """
        check_label(label)
        shown = [Example(label, s.feature, s.time_s, s.brightness, 0, s.thumbnail) for s in shots]
        lesson = Lesson()

        def decide(present: list[Example]) -> tuple[Sequence[Example], list[str]]:
            nonlocal lesson
            lesson = _taken(present, shown, self._limits)
            return lesson.added, [each.key for each in lesson.gone]

        self._store.change(decide)
        return lesson

    def remove(self, *, label: str = "", key: str = "") -> Lesson:
        """Forget all examples of a label, or the one whose key begins with `key`, of whatever network.

        Raises TeachError where there is none, or the beginning is that of several.
        """
        foreign = self._foreign()
        lesson = Lesson()

        def decide(present: list[Example]) -> tuple[Sequence[Example], list[str]]:
            nonlocal lesson
            known = [*present, *foreign]
            lesson = Lesson(gone=tuple(_of_label(known, label) if label else _with_key(known, key)))
            return (), [each.key for each in lesson.gone]

        self._store.change(decide)
        return lesson

    def undo(self) -> Lesson | None:
        """Undo the last lesson, as if it had never been; None where none is left that can be undone."""
        undone = self._store.undo()
        return Lesson(tuple(undone.back), tuple(undone.gone)) if undone else None

    def head(self) -> Loaded:
        """Read the head. It is not fitted here: where it is not current, answer with it and fit."""
        foreign = len(self._foreign())
        with self._store.reading() as kept:
            examples = grouped(kept)
            try:
                taught = head_file.load(self.head_path, self.backbone)
            except HeadFileError as error:
                problem = str(error) if self.head_path.exists() else ""
                return Loaded(None, not examples, problem, foreign)
            with contextlib.suppress(fitting.OtherExamplesError):
                return Loaded(fitting.recall(taught, examples, self._rules), True, foreign=foreign)
            is_chosen = not taught.fingerprint or self._was_turned_away(examples)
            return Loaded(Head(taught, rules=self._rules), is_chosen, foreign=foreign)

    def fit(self, frames: Moment | None = None, *, keep: bool = True) -> Learnt | None:
        """Fit in one go; see `fitting`."""
        return fitting.finished(self.fitting(frames, keep=keep))

    def fitting(
        self,
        frames: Moment | None = None,
        *,
        keep: bool = True,
        give_back: Callable[[], None] = lambda: None,
    ) -> Generator[None, None, Learnt | None]:
        """Fit a head to the examples and, with `keep`, save it; the one before it can be had by `revert`.

        Yields between steps of a few milliseconds, the reading and writing of files apart. `frames` is the
        moment of frames of this camera that nobody has named; without it, that of the present head is taken.
        `give_back` is called where memory can be trimmed: reading, fitting and writing need other code each.
        Where there are no examples, there will be no head: None.
        """
        learnt = yield from self._learnt(frames or self._known_frames(), give_back)
        give_back()
        if not keep:
            return learnt
        if learnt is None:
            self._write(lambda: head_file.retire(self.head_path))
        else:
            taught = learnt.head.taught
            self._write(lambda: head_file.save(self.head_path, taught))
        return learnt

    def _learnt(
        self, frames: Moment | None, give_back: Callable[[], None]
    ) -> Generator[None, None, Learnt | None]:
        """Fit to the examples as they are, and once more where somebody has taught meanwhile."""
        learnt = None
        for attempt in range(_ATTEMPTS):
            give_back()
            try:
                with self._store.reading() as kept:
                    if not kept:
                        return None
                    examples, known = grouped(kept), {each.key for each in kept}
                    give_back()
                    yield
                    fit = yield from fitting.fitting(examples, self.backbone, frames, self._rules, give_back)
                    learnt = Learnt(fit.head, report(examples, fit))
                    del examples, fit, kept
            except MeanwhileError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            give_back()
            yield
            if self._store.keys() == known:
                break
        return learnt

    def fitting_periods(
        self, calendar: Calendar, give_back: Callable[[], None] = lambda: None
    ) -> Generator[None, None, PeriodHeads]:
        """Fit a head of its own to the examples of each period; yields and gives back like `fitting`, and
        saves nothing.

        Each label but `none` needs ENOUGH_OF_PERIOD examples in the period: one that was not shown at night
        would be unknown all night. Until then, the head of all examples is the better one.
        """
        with self._store.reading() as kept:
            return (yield from self._of_periods(grouped(kept), calendar, give_back))

    def _of_periods(
        self, examples: Sequence[Kept], calendar: Calendar, give_back: Callable[[], None]
    ) -> Generator[None, None, PeriodHeads]:
        labels = sorted({each.label for each in examples} - {NONE})
        yield
        heads: dict[str, Head] = {}
        missing: list[str] = []
        for period in calendar.periods:
            mine = [each for each in examples if calendar.of(each) == period]
            counts = Counter(each.label for each in mine)
            few = [f"{counts[label]} of {label}" for label in labels if counts[label] < ENOUGH_OF_PERIOD]
            if labels and not few:
                fit = yield from fitting.fitting(mine, self.backbone, None, self._rules, give_back)
                heads[period] = fit.head
                give_back()
            elif few:
                more = f" and {len(few) - _NAMED} labels more" if len(few) > _NAMED else ""
                missing.append(
                    f"period {period} has no head of its own: it needs {ENOUGH_OF_PERIOD} examples of each"
                    f" label, and has {', '.join(few[:_NAMED])}{more}"
                )
        return PeriodHeads(heads, tuple(missing))

    def revert(self) -> Loaded:
        """Answer as before the last fit. The examples stay, and the next lesson is learnt with them."""
        try:
            head_file.revert(self.head_path, self.backbone)
        except OSError as error:
            raise _unwritten(self.head_path, error) from error
        return self.head()

    def take(self, content: bytes) -> Loaded:
        """Answer with a head that was made elsewhere, the bytes of a head file; with none where it is empty.

        Whatever was taught here, it answers until the next lesson; then the head is of the examples again.
        """
        try:
            if content:
                taught = head_file.checked(content, self.backbone)
                self._write(lambda: head_file.save(self.head_path, replace(taught, fingerprint="")))
            else:
                self._write(lambda: head_file.retire(self.head_path))
        except HeadFileError as error:
            raise TeachError(f"the head cannot be used: {error}") from None
        return self.head()

    def relearning(self, features_of: FeaturesOf) -> Generator[None, None, Relearnt]:
        """Teach the present network what another one was taught, by the thumbnails; fit afterwards.

        One picture is looked at between two yields. What cannot be relearned is left as it is.
        """
        counts = Counter(self._store.counts())
        waiting: list[tuple[str, Example]] = []
        learnt = lost = 0
        for origin in self._foreign():
            has_room = _has_room(counts, origin.label, self._limits)
            example = self._relearned(origin, features_of) if has_room else None
            if example is None:
                lost += 1
                continue
            counts[origin.label] += 1
            learnt += 1
            waiting.append((origin.key, example))
            if len(waiting) == _AT_ONCE:
                self._store.relearn(waiting)
                waiting.clear()
            yield
        self._store.relearn(waiting)
        return Relearnt(learnt, lost)

    def _foreign(self) -> list[Example]:
        """Examples that only other networks know; each picture once, by the network that knew it last."""
        others = {_picture(each): each for each in self._store.of_other_networks()}
        if not others:
            return []
        known = {_picture(each) for each in self._store.load()}
        return [each for picture, each in others.items() if picture not in known]

    def _relearned(self, origin: Example, features_of: FeaturesOf) -> Example | None:
        thumbnail = self._store.thumbnail(origin.key)
        if not thumbnail:
            return None
        try:
            return replace(origin, feature=features_of(thumbnail), thumbnail=thumbnail)
        except EdgeAgentError:
            return None

    def _known_frames(self) -> Moment | None:
        try:
            return head_file.load(self.head_path, self.backbone).frames
        except HeadFileError:
            return None

    def _was_turned_away(self, examples: Iterable[Kept]) -> bool:
        """Whether the head of these examples was there, and the owner wanted the one before it."""
        path = head_file.reverted_of(self.head_path)
        try:
            turned_away = head_file.load(path).fingerprint if path.stat().st_size else fingerprint(())
        except (HeadFileError, OSError):
            return False
        return turned_away == fingerprint(examples)

    def _write(self, change: Callable[[], None]) -> None:
        """Put another head in the place of the present one."""
        try:
            head_file.reverted_of(self.head_path).unlink(missing_ok=True)
            change()
        except OSError as error:
            raise _unwritten(self.head_path, error) from error


def _taken(present: list[Example], shown: Sequence[Example], limits: Limits) -> Lesson:
    """What becomes of examples that are shown."""
    pictures = {each.feature.tobytes(): each.label for each in shown}
    corrected = [e for e in present if pictures.get(e.feature.tobytes(), e.label) != e.label]
    contradicted = {each.key for each in corrected}
    examples = Examples(limits, [each for each in present if each.key not in contradicted])
    verdicts = [examples.add(each)[0] for each in shown]
    before = {each.key for each in present}
    return Lesson(
        tuple(each for each in examples if each.key not in before),
        tuple(each for each in present if each.key not in examples),
        verdicts.count("duplicate"),
    )


def _of_label(examples: list[Example], label: str) -> list[Example]:
    found = [each for each in examples if each.label == label]
    if not found:
        labels = ", ".join(sorted({f"`{each.label}`" for each in examples})) or "nothing"
        raise TeachError(f"no example shows {printable(label, 80)!r}; taught so far: {labels}")
    return found


def _with_key(examples: list[Example], key: str) -> list[Example]:
    found = [each for each in examples if key and each.key.startswith(key)]
    if len(found) != 1:
        how_many = "more than one example has" if found else "no example has"
        raise TeachError(
            f"{how_many} a key that begins with {printable(key, 40)!r}; list them to see the keys"
        )
    return found


def _has_room(counts: Counter[str], label: str, limits: Limits) -> bool:
    return (
        counts.total() < limits.in_all
        and counts[label] < limits.per_label
        and len({*counts, label}) <= limits.labels
    )


def _picture(example: Example) -> tuple[str, float, float]:
    """The same for the examples that several networks have of one picture."""
    return example.label, example.time_s, example.brightness


def _unwritten(path: Path, error: OSError) -> TeachError:
    return TeachError(f"{path}: cannot be written: {error.strerror or error}")
