"""What a view is taught while the agent runs: its lessons, its heads, and the fitting of them in slices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from typing import Any

from edge_agent.config.watch import Signature, signature
from edge_agent.errors import TeachError
from edge_agent.system.log import say
from edge_agent.teach.head import Head
from edge_agent.teach.lessons import (
    Calendar,
    FeaturesOf,
    Learnt,
    Lesson,
    Lessons,
    Loaded,
    PeriodHeads,
    Shot,
)
from edge_agent.teach.report import Report

_LOG = logging.getLogger(__name__)


class Pupil:
    """Learns one view, on the thread that calls `work`; `use_head` is given each head that is to answer."""

    def __init__(
        self,
        name: str,
        lessons: Lessons,
        use_head: Callable[[Head | None, Mapping[str, Head]], None],
        features_of: FeaturesOf,
        give_back: Callable[[], None],
        calendar: Calendar | None = None,
    ) -> None:
        """`name` is that of the view, for the log. `use_head` is given the head of all examples, and those
        of periods. `features_of` looks at the pictures of examples that another network was taught.
        `give_back` trims memory, see `Lessons.fitting`. `calendar` is None where there are no periods."""
        self.name = name
        self.lessons = lessons
        self.counts: dict[str, int] = {}
        """How many examples each label has."""
        self.problem = ""
        """Why the head on disk, or the last lesson, is not what answers; empty where all is well."""
        self._use_head = use_head
        self._features_of = features_of
        self._give_back = give_back
        self._calendar = calendar
        self.of_period = PeriodHeads()
        """The heads of periods, which answer in place of the other while it is time."""
        self._relearns = True
        self.method = ""
        """How the head that answers tells labels apart; empty where there is none."""
        self.known_report: Report | None = None
        """How good that head is, once it is known."""
        self._slices: Generator[None, None, None] | None = None
        self._stamp: Signature | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Those that were taught so far."""
        return tuple(sorted(self.counts))

    @property
    def is_busy(self) -> bool:
        """Whether `work` has more to do at once."""
        return self._slices is not None

    def load(self) -> None:
        """Answer with the head on disk; where it is not that of the examples, fit it."""
        self._stamp = self._look()
        try:
            loaded = self.lessons.head()
            self._count()
        except TeachError as error:
            self._fail(str(error))
            return
        self._adopt(loaded)
        if loaded.foreign and self._relearns:
            self._slices = self._relearn_and_fit()
        elif not loaded.is_current:
            self._slices = self._fit()
        elif loaded.head is not None and loaded.head.taught.fingerprint:
            self._slices = self._judge(loaded.head)

    def follow_disk(self) -> bool:
        """Load again where another process has taught; returns whether it has."""
        if self.is_busy or self._look() == self._stamp:
            return False
        self.load()
        return True

    def learn(self, label: str, shot: Shot) -> Lesson:
        """Teach that a frame shows `label`. Raises TeachError."""
        return self._changed(self.lessons.add(label, [shot]))

    def forget(self, *, label: str, key: str) -> Lesson:
        """Forget a label, or one example. Raises TeachError."""
        return self._changed(self.lessons.remove(label=label, key=key))

    def undo(self) -> Lesson:
        """Undo the last lesson. Raises TeachError where there is none."""
        lesson = self.lessons.undo()
        if lesson is None:
            raise TeachError("there is no lesson that could be undone")
        return self._changed(lesson)

    def revert(self) -> None:
        """Answer as before the last fit. Raises TeachError."""
        self._slices = None
        self._adopt(self.lessons.revert())
        self.known_report = None
        self._stamp = self._look()

    def take(self, content: bytes) -> None:
        """Answer with a head that was made elsewhere; with none where it is empty. Raises TeachError."""
        self._slices = None
        self._adopt(self.lessons.take(content))
        self.known_report = None
        self._stamp = self._look()

    def content(self) -> bytes:
        """The head on disk; empty where there is none that can be read."""
        try:
            return self.lessons.head_path.read_bytes()
        except OSError:
            return b""

    def report(self) -> Report | None:
        """What the examples say of themselves; None where nothing was taught. Raises TeachError."""
        if self.known_report is None:
            learnt = self.lessons.fit(keep=False)
            self.known_report = learnt.report if learnt else None
        return self.known_report

    def work(self) -> bool:
        """Do one slice of what is to be done, of a few milliseconds; returns whether a head has changed."""
        if self._slices is None:
            return False
        try:
            next(self._slices)
        except StopIteration:
            self._slices = None
            return True
        except TeachError as error:
            self._slices = None
            self._fail(str(error))
            return True
        return False

    def plain(self) -> dict[str, Any]:
        """What is said of it in an answer."""
        return {"labels": dict(sorted(self.counts.items())), "problem": self.problem}

    def _changed(self, lesson: Lesson) -> Lesson:
        if lesson.has_changed:
            self._count()
            self.known_report = None
            self._slices = self._fit()
        return lesson

    def _count(self) -> None:
        self.counts = self.lessons.counts()

    def _adopt(self, loaded: Loaded) -> None:
        if loaded.problem and loaded.problem != self.problem:
            say(_LOG, logging.WARNING, f"{self.name}: {loaded.problem}")
        self.problem = loaded.problem
        self._answer_with(loaded.head)

    def _answer_with(self, head: Head | None, of_period: PeriodHeads | None = None) -> None:
        self.method = head.taught.method if head else ""
        self.of_period = of_period or PeriodHeads()
        self._use_head(head, self.of_period.heads)

    def _fit(self) -> Generator[None, None, None]:
        learnt: Learnt | None = yield from self.lessons.fitting(give_back=self._give_back)
        self._stamp = self._look()  # at once: what another process saves after this is not ours
        self._count()  # it may have taught during the fit
        self.known_report = learnt.report if learnt else None
        self.problem = ""
        yield from self._answer_by_period(learnt.head if learnt else None)
        examples = sum(self.counts.values())
        say(_LOG, logging.INFO, f"{self.name}: taught anew", method=self.method, examples=examples)

    def _judge(self, head: Head) -> Generator[None, None, None]:
        """Find out how good the head is that answers already."""
        learnt = yield from self.lessons.fitting(keep=False, give_back=self._give_back)
        self.known_report = learnt.report if learnt else None
        yield from self._answer_by_period(head)

    def _answer_by_period(self, head: Head | None) -> Generator[None, None, None]:
        """Answer with a head at once, and with those of periods as soon as they are fitted."""
        known = self.of_period.missing
        self._answer_with(head)
        if head is None or self._calendar is None:
            return
        of_period = yield from self.lessons.fitting_periods(self._calendar, self._give_back)
        self._answer_with(head, of_period)
        for each in of_period.missing:
            if each not in known:
                say(_LOG, logging.INFO, f"{self.name}: {each}")

    def _relearn_and_fit(self) -> Generator[None, None, None]:
        """Teach this network what another one was taught."""
        say(
            _LOG, logging.INFO, f"{self.name}: what another model was taught is learnt again, by its pictures"
        )
        done = yield from self.lessons.relearning(self._features_of)
        level = logging.WARNING if done.lost else logging.INFO
        say(_LOG, level, f"{self.name}: learnt again", examples=done.learnt, without_picture=done.lost)
        self._count()
        self._relearns = False  # what is lost now will not be found by trying again
        yield from self._fit()

    def _fail(self, problem: str) -> None:
        if problem != self.problem:
            say(_LOG, logging.WARNING, f"{self.name}: {problem}")
        self.problem = problem

    def _look(self) -> Signature | None:
        return signature(self.lessons.head_path)
