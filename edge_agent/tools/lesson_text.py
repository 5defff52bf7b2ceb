"""Says what became of a lesson, what a view knows and how good that is: in sentences, and for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime

from edge_agent.teach.examples import Example
from edge_agent.teach.lessons import Learnt, Lesson
from edge_agent.teach.report import Report

_KEY_DIGITS = 8  # of 32: enough for a thousand examples, and any beginning will do
_METHODS = {"means": "the means of the labels", "regression": "logistic regression"}


def some(count: int, what: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def counted(examples: Iterable[Example]) -> str:
    """`2 examples of closed, 1 example of open`."""
    counts = Counter(each.label for each in examples)
    return ", ".join(f"{some(count, 'example')} of {label}" for label, count in sorted(counts.items()))


def added(label: str, lesson: Lesson, pictures: int) -> list[str]:
    """What became of so many pictures that were shown."""
    lines = [f"taught {some(len(lesson.added), 'picture')} as {label}"]
    if lesson.duplicates:
        lines.append(f"left out {some(lesson.duplicates, 'picture')}: nearly the same as others")
    if crowded := pictures - len(lesson.added) - lesson.duplicates:
        lines.append(f"left out {some(crowded, 'picture')}: the label is full, and others differ more")
    if lesson.gone:
        lines.append(f"forgot {counted(lesson.gone)} for them")
    return lines


def known(view: str, learnt: Learnt | None) -> list[str]:
    """What a view knows, how good that is, and what to show next."""
    if learnt is None:
        return [f"{view} knows nothing"]
    labels = ", ".join(f"{label} ({count})" for label, count in counts(learnt).items())
    missing = [f"next: {line}" for line in learnt.report.missing[:1]]
    return [f"{view} knows {labels}", accuracy(learnt.report), *missing]


def report(view: str, found: Report) -> list[str]:
    """All that a report says."""
    lines = [
        f"{view}: {some(found.examples, 'example')}, answered by {_METHODS[found.method]}",
        accuracy(found),
    ]
    if found.confusion:
        rows = (
            f"  {label}: {', '.join(f'{answer} {count}' for answer, count in answers.items())}"
            for label, answers in found.confusion.items()
        )
        lines += ["", "taken for:", *rows]
    if found.mislabelled:
        rows = (
            f"  {each.key[:_KEY_DIGITS]}  {each.label}, looks like {each.answer} ({each.probability:.0%})"
            for each in found.mislabelled
        )
        lines += ["", "possibly mislabelled (`edge-agent teach remove --example KEY` forgets one):", *rows]
    if found.missing:
        lines += ["", "to show next:", *(f"  {line}" for line in found.missing)]
    return lines


def accuracy(found: Report) -> str:
    """How good it is, or that nobody knows."""
    if found.accuracy is None or found.low is None or found.high is None:
        return "too few examples to say how good it is: show two labels, each at two times by day or at night"
    return (
        f"right about {found.correct} of {some(found.judged, 'example')}, each judged by those of other times"
        f" ({found.accuracy:.0%}; another day may give {found.low:.0%} to {found.high:.0%})"
    )


def row(example: Example, *, has_picture: bool) -> str:
    """An example in a line: key, time, brightness, label."""
    moment = datetime.fromtimestamp(example.time_s)
    picture = "" if has_picture else "  (no picture)"
    key = example.key[:_KEY_DIGITS]
    return f"{key}  {moment:%Y-%m-%d %H:%M:%S}  {example.brightness:3.0f}  {example.label}{picture}"


def counts(learnt: Learnt) -> dict[str, int]:
    """How many examples each label has."""
    return {label: moment.count for label, moment in learnt.head.taught.classes.items()}


def lesson_json(lesson: Lesson) -> dict[str, object]:
    return {
        "added": [each.key for each in lesson.added],
        "gone": [each.key for each in lesson.gone],
        "duplicates": lesson.duplicates,
    }


def learnt_json(learnt: Learnt | None) -> dict[str, object]:
    if learnt is None:
        return {"labels": {}, "report": None}
    return {"labels": counts(learnt), "report": asdict(learnt.report) | {"accuracy": learnt.report.accuracy}}


def example_json(example: Example, *, has_picture: bool) -> dict[str, object]:
    return {
        "key": example.key,
        "label": example.label,
        "time": datetime.fromtimestamp(example.time_s, UTC).isoformat(),
        "brightness": round(example.brightness, 1),
        "burst": example.burst,
        "thumbnail": has_picture,
    }
