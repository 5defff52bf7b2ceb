"""Teaching the running agent: lessons over MQTT, heads that a command has taught, questions to the owner.

Nothing of it is loaded before something was taught, or a lesson comes.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import Config
from edge_agent.daemon.errands import Errand
from edge_agent.daemon.schedule import Every
from edge_agent.errors import TeachError
from edge_agent.frame import Frame
from edge_agent.mqtt.contract.payloads import HeadInfo, TeachHealth
from edge_agent.mqtt.requests import LessonRequest
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.pipeline.view import View
from edge_agent.system.clock import Clock
from edge_agent.system.text import printable

if TYPE_CHECKING:
    from edge_agent.daemon.pupil import Pupil
    from edge_agent.teach.ask import Question
    from edge_agent.teach.head import Backbone, Head
    from edge_agent.teach.lessons import Lesson, Shot

_LOG = logging.getLogger(__name__)
_LOOK_EVERY_S = 2.0
_ENGINE_WAIT_S = 10.0
_SHOWN = 20  # of what looks mislabelled


class Teaching:
    """The teaching of every view. Used by the main thread."""

    def __init__(
        self,
        state_dir: Path,
        loop: InferenceLoop,
        config: Callable[[], Config],
        clock: Clock,
        announce: Callable[[Mapping[str, tuple[str, ...]]], None],
        give_back: Callable[[], None],
    ) -> None:
        """`config` returns the configuration in force; `announce` is given the labels of each view that can
        be taught, whenever they may have changed. `give_back` trims memory: it is called before and after
        what takes much for a moment, so that one such thing does not come on top of another."""
        self._state_dir = state_dir
        self._loop = loop
        self._config = config
        self._clock = clock
        self._announce = announce
        self._give_back = give_back
        self._features, self._info = loop.model.features, loop.model.engine.info
        self._pupils: dict[str, Pupil] = {}
        self._look_due = Every(_LOOK_EVERY_S)
        self._has_changed = False
        self._has_learnt = False

    def adopt(self) -> None:
        """Follow the configuration and the model in force; load what was taught."""
        model = self._loop.model
        self._features, self._info = model.features, model.engine.info
        before, self._pupils = self._pupils, {}
        self._find()
        for region in before.keys() - self._pupils.keys():
            self._use_head(region, None, {})
        self._say()

    def work(self, now_s: float) -> None:
        """Do a slice of what is to be done, and look now and then what a command has taught."""
        if not self._loop.is_running:  # which looks at the pictures of examples
            return
        busy = next((pupil for pupil in self._pupils.values() if pupil.is_busy), None)
        if busy is not None:
            if busy.work():
                self._give_back()
                self._say()
                self._has_learnt = True
        elif self._look_due.is_due(now_s):
            if self._has_learnt:
                self._has_learnt = False
                self._give_back()  # the head that answered before has gone by now
            self._find()
            changed = [pupil for pupil in self._pupils.values() if pupil.follow_disk()]
            if changed:
                self._say()

    @property
    def wait_s(self) -> float | None:
        """How long `work` can wait; None for ever."""
        if not self._loop.is_running:
            return None
        if any(pupil.is_busy for pupil in self._pupils.values()):
            return 0.0
        return self._look_due.left_s(self._clock.monotonic_s()) if self._can_teach else None

    def take_changed(self) -> bool:
        """Whether what `heads` returns may have changed since the last call."""
        changed, self._has_changed = self._has_changed, False
        return changed

    def carry_out(self, lesson: LessonRequest) -> dict[str, Any]:
        """Do what is asked, and return the answer's data. Raises TeachError."""
        pupil = self._pupil(lesson.region)
        match lesson.verb:
            case "add":
                return self._add(pupil, lesson)
            case "undo":
                return self._lesson(pupil, pupil.undo())
            case "remove":
                return self._remove(pupil, lesson)
            case "revert":
                pupil.revert()
                self._say()
                return pupil.plain()
            case "report":
                return self._report(pupil)
            case "questions":
                return {"questions": [_question(each) for each in self._questions(lesson.region)]}

    def head_of(self, region: str) -> bytes:
        """The file of a view's head, empty where there is none. Raises TeachError."""
        return self._pupil(region).content()

    def take_head(self, region: str, content: bytes) -> dict[str, Any]:
        """Let a view answer with a head that was made elsewhere, or none; returns what is said of it.

        Raises TeachError.
        """
        pupil = self._pupil(region)
        pupil.take(content)
        self._say()
        return pupil.plain()

    def heads(self) -> tuple[HeadInfo, ...]:
        """What is said of each head in `info`."""
        return tuple(self._head(region, pupil) for region, pupil in self._pupils.items() if pupil.counts)

    def health(self) -> TeachHealth | None:
        """What is said in `health`; None where nothing was taught."""
        if not self._pupils:
            return None
        asking = [view.asking for region in self._watched if (view := self._view(region)) and view.asking]
        examples = sum(sum(pupil.counts.values()) for pupil in self._pupils.values())
        return TeachHealth(examples, sum(len(each.waiting) for each in asking), sum(e.asked for e in asking))

    # Lessons

    def _add(self, pupil: Pupil, lesson: LessonRequest) -> dict[str, Any]:
        if not lesson.label:
            raise TeachError('name what the frame shows: {"label": "open"}')
        shot = self._asked(lesson) if lesson.question is not None else self._present(lesson.region)
        self._give_back()
        done = pupil.learn(lesson.label, shot)
        if lesson.question is not None:
            self._drop_question(lesson.region, lesson.question)
        return self._lesson(pupil, done)

    def _remove(self, pupil: Pupil, lesson: LessonRequest) -> dict[str, Any]:
        if bool(lesson.label) == bool(lesson.example):
            raise TeachError('name either a label or an example: {"label": "open"}, or {"example": "1f2e"}')
        return self._lesson(pupil, pupil.forget(label=lesson.label, key=lesson.example))

    def _lesson(self, pupil: Pupil, lesson: Lesson) -> dict[str, Any]:
        self._say()
        return pupil.plain() | {
            "added": [each.key[:12] for each in lesson.added],
            "gone": [each.key[:12] for each in lesson.gone],
            "duplicates": lesson.duplicates,
        }

    def _report(self, pupil: Pupil) -> dict[str, Any]:
        report = pupil.report()
        if report is None:
            return pupil.plain()
        suspects = [dataclasses.asdict(each) | {"key": each.key[:12]} for each in report.mislabelled[:_SHOWN]]
        return pupil.plain() | {
            "method": report.method,
            "examples": report.examples,
            "judged": report.judged,
            "accuracy": _rounded(report.accuracy),
            "low": _rounded(report.low),
            "high": _rounded(report.high),
            "confusion": {label: dict(row) for label, row in report.confusion.items()},
            "mislabelled": suspects,
            "missing": list(report.missing),
        }

    def _present(self, region: str) -> Shot:
        """What is learnt from the frame that was classified last."""
        from edge_agent.pipeline.shots import shot_of

        seen = self._view_of(region).seen
        if seen is None:
            raise TeachError("no frame has been classified yet: is the camera running?")
        age_s = self._clock.monotonic_s() - seen.frame.captured_s
        keep = self._config().teach.thumbnails
        return shot_of(seen.frame.pixels, seen.feature, self._clock.time_s() - age_s, with_thumbnail=keep)

    # Questions

    def _questions(self, region: str) -> tuple[Question, ...]:
        asking = self._view_of(region).asking
        return asking.waiting if asking else ()

    def _asked(self, lesson: LessonRequest) -> Shot:
        from edge_agent.teach.lessons import Shot

        for each in self._questions(lesson.region):
            if each.number == lesson.question:
                return Shot(each.feature, each.time_s, each.brightness, each.thumbnail)
        raise TeachError(f"there is no question {lesson.question}: it may have given way to newer ones")

    def _drop_question(self, region: str, number: int) -> None:
        asking = self._view_of(region).asking

        def drop() -> None:
            if asking is not None:
                asking.take(number)

        self._loop.between_frames(drop)

    # Views and pupils

    @property
    def _can_teach(self) -> bool:
        return self._config().teach.enabled and self._features > 0

    @property
    def _watched(self) -> tuple[str, ...]:
        return self._config().watched

    def _view(self, region: str) -> View | None:
        return self._loop.view(region)

    def _view_of(self, region: str) -> View:
        view = self._view(region)
        if view is None:
            raise TeachError("the region was configured a moment ago: try again")
        return view

    def _find(self) -> None:
        """Take up what was taught before, or by a command since."""
        if not self._can_teach or not (self._state_dir / "teach").is_dir():
            return
        from edge_agent.teach.lessons import directory_of

        for region in self._watched:
            if region not in self._pupils and directory_of(self._state_dir, region).is_dir():
                self._make_pupil(region)
                self._has_changed = True

    def _pupil(self, region: str) -> Pupil:
        """The pupil of a view. Raises TeachError where it cannot be taught."""
        if not self._config().teach.enabled:
            raise TeachError("teach.enabled is false on this device")
        if region not in self._watched:
            names = ", ".join(name for name in self._watched if name)
            hint = f"its regions are {names}" if names else "it watches the whole picture: name no region"
            raise TeachError(f"there is no region {printable(region, 40)!r}; {hint}")
        if not self._features:
            name = self._loop.model.artifact.sidecar.name
            raise TeachError(
                f"{printable(name, 80)} cannot be taught as it runs here; `edge-agent model info` says why"
            )
        return self._pupils.get(region) or self._make_pupil(region)

    def _make_pupil(self, region: str) -> Pupil:
        from edge_agent.daemon.pupil import Pupil
        from edge_agent.pipeline.shots import calendar_of, from_thumbnails, lessons_of
        from edge_agent.teach.ask import Asking, AskRules
        from edge_agent.teach.lessons import directory_of

        config = self._config().teach
        lessons = lessons_of(directory_of(self._state_dir, region), self._backbone(), config)
        name = f"region {region}" if region else "the whole picture"
        asking = Asking(AskRules(every_s=config.ask_every_s)) if config.ask_every_s else None
        self._loop.between_frames(lambda: self._loop.use_asking(region, asking))
        features_of = from_thumbnails(self._feature_of)
        use_head, calendar = partial(self._use_head, region), calendar_of(self._config())
        pupil = Pupil(name, lessons, use_head, features_of, self._give_back, calendar)
        self._pupils[region] = pupil
        self._give_back()
        pupil.load()
        self._give_back()
        return pupil

    def _backbone(self) -> Backbone:
        from edge_agent.pipeline.shots import backbone_of

        return backbone_of(self._loop.model.artifact, self._info, self._features)

    def _use_head(self, region: str, head: Head | None, of_period: Mapping[str, Head]) -> None:
        self._loop.between_frames(lambda: self._loop.use_head(region, head, of_period))

    def _feature_of(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network makes of a picture, by the inference thread. Raises EngineError or ErrandError."""
        look = Errand(lambda: self._loop.model.classifier.classify(Frame(0, 0.0, 0.0, pixels)).feature)
        self._loop.between_frames(look.run)
        return look.result(_ENGINE_WAIT_S)

    def _head(self, region: str, pupil: Pupil) -> HeadInfo:
        report = pupil.known_report
        return HeadInfo(
            region=region,
            labels=pupil.counts,
            method=pupil.method,
            accuracy=_rounded(report.accuracy) if report else None,
            low=_rounded(report.low) if report else None,
            high=_rounded(report.high) if report else None,
            mislabelled=len(report.mislabelled) if report else 0,
            missing=(*(report.missing if report else ()), *pupil.of_period.missing),
            problem=pupil.problem,
            periods=tuple(pupil.of_period.heads),
        )

    def _say(self) -> None:
        self._has_changed = True
        watched = self._watched if self._can_teach else ()
        self._announce({region: p.labels if (p := self._pupils.get(region)) else () for region in watched})


def _question(question: Question) -> dict[str, Any]:
    return {
        "question": question.number,
        "reason": question.reason,
        "best": question.best,
        "time_s": round(question.time_s, 1),
    }


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
