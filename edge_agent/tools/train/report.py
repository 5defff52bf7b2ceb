"""The report of a training: one HTML page that needs nothing beside it, and asks no host for anything."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import Preprocessing
from edge_agent.pipeline.jpeg import encode_jpeg
from edge_agent.system.files import write_atomic
from edge_agent.system.text import encodable, printable
from edge_agent.tools.train.chart import confusion_svg, reliability_svg
from edge_agent.tools.train.judge import Judgement, Reliability, Threshold
from edge_agent.tools.train.loop import Progress, Recipe, Sets
from edge_agent.tools.train.taught import Comparison

MOST_MISTAKES = 24
_SIDE, _QUALITY = 128, 70
_LONGEST_NAME = 60

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#222;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse}th,td{padding:.2rem .8rem .2rem 0;text-align:right}
th:first-child,td:first-child,.words td{text-align:left}tr{border-bottom:1px solid #e3e8ec}
.verdict{border-left:.3rem solid #0b7a75;padding:.3rem .8rem;background:#f2f6f6}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:1rem}
figure{margin:0;font-size:.8rem;overflow-wrap:anywhere}svg,img{max-width:100%;height:auto}
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """A picture that was judged wrong."""

    name: str
    label: str
    answer: str
    probability: float
    """Of that answer."""
    pixels: NDArray[np.uint8]
    """RGB, shape (height, width, 3)."""


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """All that the report says."""

    title: str
    facts: Sequence[tuple[str, str]]
    """What was trained, how, and on what, in words."""
    judgement: Judgement
    temperature: float
    before: Reliability
    after: Reliability
    threshold: Threshold
    comparison: Comparison | None
    no_comparison: str
    """Why there is none."""
    training: str
    """How it went, as SVG."""
    mistakes: Sequence[Mistake]
    wrong: int
    """How many mistakes there were in all."""


def facts_of(
    recipe: Recipe, taken: Preprocessing, start: str, sets: Sets, judged: int, progress: Progress
) -> tuple[tuple[str, str], ...]:
    """What was trained, how and on what."""
    crop, epochs, kept = taken.crop, len(progress.tuned), progress.best_epoch + 1
    return (
        ("network", f"{recipe.arch}, {crop} x {crop} pixels, from {start}"),
        ("pictures", f"{len(sets.learn)} to learn from, {len(sets.tune)} to tune on, {judged} to judge by"),
        (
            "learnt",
            f"{recipe.scope}, in {epochs} epochs, of which {kept} was kept; seed {recipe.seed}",
        ),
        ("steps", f"{progress.step} of {recipe.batch} pictures, rate {recipe.rate:g}, {recipe.precision}"),
    )


def write_report(found: Findings, model: Path) -> Path:
    """Write page and chart beside a model directory, whole; returns the path of the page.

    Not into it: a model goes to other machines, and the page has pictures. Raises ModelError.
    """
    directory = model.resolve()
    where = directory.with_name(f"{directory.name}.report.html")
    try:
        write_atomic(directory.with_name(f"{directory.name}.training.svg"), found.training)
        write_atomic(where, encodable(page(found)), mode=0o600)
    except OSError as error:
        raise ModelError(f"{printable(where)}: cannot be written: {error.strerror or error}") from error
    return where


def verdict(judgement: Judgement, comparison: Comparison | None, why_not: str) -> str:
    """Whether training was worth it, in a sentence or two."""
    if comparison is None:
        return f"Not compared with a taught head: {why_not}."
    taught = comparison.taught
    figures = (
        f"The trained network is right about {judgement.accuracy:.1%}, the head taught on the same"
        f" {comparison.examples} pictures about {taught.accuracy:.1%} ({100 * comparison.gain:+.1f} points,"
        f" {100 * comparison.low:+.1f} to {100 * comparison.high:+.1f})."
    )
    if comparison.is_worth_it:
        return f"Training was worth it. {figures}"
    return f"Training was not worth it: use the taught head. {figures}"


def page(found: Findings) -> str:
    """The report as HTML."""
    title = escape(printable(found.title))
    body = "\n".join(_body(found))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n<h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def _body(found: Findings) -> Iterator[str]:
    judged = found.judgement
    yield f'<p class="verdict">{escape(verdict(judged, found.comparison, found.no_comparison))}</p>'
    yield (
        f"<p><strong>{judged.accuracy:.1%} right</strong> (95 %: {judged.low:.1%} to {judged.high:.1%}) of"
        f" {judged.pictures} pictures of {judged.bursts} bursts that it has never seen.</p>"
    )
    yield f'<div class="words">{_table((), found.facts)}</div>'
    yield "<h2>Labels</h2>"
    rows = [(each.label, _percent(each.precision), _percent(each.recall)) for each in judged.labels]
    yield _table(("label", "precision", "recall"), rows)
    names = [each.label for each in judged.labels]
    yield f"<h2>What was taken for what</h2>\n{confusion_svg(names, judged.confusion)}"
    yield "<h2>How sure it is, and how often right</h2>"
    yield (
        "<p>On the pictures to judge by. On the dashed line, a probability says how often it is right. The"
        f" temperature {found.temperature:g} was fitted on the pictures to tune on; the agent divides by it."
        f" The mean distance from the line goes from {found.before.error:.1%} to {found.after.error:.1%}.</p>"
    )
    yield reliability_svg(found.before.bins, "Without temperature")
    yield reliability_svg(found.after.bins, f"With temperature {found.temperature:g}")
    yield f"<h2>Unknown</h2>\n<p>{escape(unknown(found.threshold))}</p>"
    yield f"<h2>Training</h2>\n{found.training}"
    yield from _sheet(found)


def unknown(threshold: Threshold) -> str:
    """What the threshold does, and where it is set."""
    refused = ""
    if threshold.refused is not None:
        refused = f", and {threshold.refused:.0%} of the wrong ones become unknown"
    return (
        f"Below a probability of {threshold.probability:g} a frame had better be unknown: set"
        f" stabilizer.threshold: {threshold.probability:g} in the agent's configuration."
        f" {_percent(threshold.kept)} of the right answers stay{refused}."
    )


def _sheet(found: Findings) -> Iterator[str]:
    shown = f"; the {len(found.mistakes)} surest of them" if found.wrong > len(found.mistakes) else ""
    yield f"<h2>Mistakes</h2>\n<p>{found.wrong} of {found.judgement.pictures}{shown}.</p>"
    if found.mistakes:
        yield "<p>These are pictures of your camera: mind who gets this page.</p>"
    yield '<div class="sheet">'
    for each in found.mistakes:
        name = escape(printable(each.name, _LONGEST_NAME))
        said = escape(f"{printable(each.label)}, taken for {printable(each.answer)} ({each.probability:.0%})")
        yield (
            f'<figure><img alt="{name}" src="{_thumbnail(each.pixels)}">'
            f"<figcaption>{said}<br>{name}</figcaption></figure>"
        )
    yield "</div>"


def _thumbnail(pixels: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_SIDE, _SIDE))
    jpeg = encode_jpeg(np.asarray(picture), _QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in header)
    lines = [f"<tr>{head}</tr>"] if head else []
    lines += [f"<tr>{''.join(f'<td>{escape(printable(each))}</td>' for each in row)}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
