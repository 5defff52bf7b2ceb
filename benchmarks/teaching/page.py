"""The figures as a section of a document, between two marks."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.teaching.cost import LABELS
from benchmarks.teaching.cost import OF_EACH as COST_OF_EACH
from benchmarks.teaching.heads import HEADS
from benchmarks.teaching.results import (
    DENSE,
    OF_EACH,
    OURS,
    REGION,
    WHOLE,
    Results,
    mean,
    of_marks,
    targets,
)
from edge_agent.errors import UsageError
from edge_agent.tools.measure.table import table

BEGIN, END = (
    "<!-- what follows is written by make teach-bench -->",
    "<!-- end of what make teach-bench writes -->",
)

_EVENTS = ("changes a day", "missed", "false events", f"of the {DENSE} layer")
_NAMES = {
    OURS: "this agent",
    "class means": "class means alone",
    "regression": "regression alone",
    DENSE: "Dense layer, Adam, 50 epochs",
}


def section(results: Results, picture: str) -> str:
    """The Markdown; `picture` is the address of the chart."""
    parts = [
        _targets(results),
        f"![Accuracy and strangers by the number of examples]({picture})",
        *(_by_size(results, network) for network in results.networks),
        _by_scene(results),
        _costs(results),
    ]
    return "\n\n".join(parts) + "\n"


def write(path: Path, text: str) -> None:
    """Put the text between the marks of the document. Raises UsageError where it has none."""
    document = path.read_text(encoding="utf-8")
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{path}: has no place for the figures; it needs the lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def _targets(results: Results) -> str:
    rows = [(each.promise, each.found, "met" if each.is_met else "missed") for each in targets(results)]
    lead = f"{OF_EACH} examples of each label, on the region, with the features of {results.networks[0]}:"
    return f"{lead}\n\n{table(('target', 'found', ''), rows)}"


def _by_size(results: Results, network: str) -> str:
    rows = []
    for view, heads in ((REGION, tuple(HEADS)), (WHOLE, (OURS, DENSE))):
        for head in heads:
            cells = [f"{_NAMES[head]}, {view}"]
            for size in results.sizes:
                some = results.some(network, view, head, size)
                right = 100 * of_marks(some, lambda marks: marks.accuracy)
                strange = 100 * of_marks(some, lambda marks: marks.strangers)
                cells.append(f"{right:.1f} / {strange:.0f}")
            rows.append(cells)
    lead = (
        f"Accuracy on other days in %, and strangers taken for known in %, by the number of examples of each"
        f" label; means over {len(results.scenes)} scenes and {results.draws} draws, {network}:"
    )
    return f"{lead}\n\n{table(('head', *map(str, results.sizes)), rows)}"


def _by_scene(results: Results) -> str:
    network = results.networks[0]
    header = ("scene", "accuracy", "strangers", "answered", "strangers answered", *_EVENTS)
    rows = []
    for scene in results.scenes:
        some = results.some(network, REGION, OURS, OF_EACH, scene)
        ours, dense = (
            [
                each.events
                for each in results.days
                if (each.network, each.scene, each.head) == (network, scene, head)
            ]
            for head in (OURS, DENSE)
        )
        rows.append(
            (
                scene,
                f"{100 * of_marks(some, lambda marks: marks.accuracy):.1f} %",
                f"{100 * of_marks(some, lambda marks: marks.strangers):.1f} %",
                f"{100 * of_marks(some, lambda marks: marks.answered):.1f} %",
                f"{100 * of_marks(some, lambda marks: marks.admitted):.1f} %",
                f"{mean(each.true for each in ours):.0f}",
                f"{mean(each.missed for each in ours):.1f}",
                f"{mean(each.false for each in ours):.1f}",
                f"{mean(each.false for each in dense):.1f}",
            )
        )
    lead = (
        f'Scene by scene, {OF_EACH} examples of each label. "Answered" is what gets a label where the head'
        " itself decides. Events are those of a whole day, a frame every five minutes, behind the stabiliser"
        " as it is where nothing else is set:"
    )
    return f"{lead}\n\n{table(header, rows)}"


def _costs(results: Results) -> str:
    header = ("network", "features", "VmRSS without", "with", "more", "of it its own", "fit", "longest slice")
    rows = [
        (
            network,
            str(cost.features),
            f"{cost.without_mb:.1f} MB",
            f"{cost.with_mb:.1f} MB",
            f"{cost.added_mb:.1f} MB",
            f"{cost.own_mb:.1f} MB",
            f"{cost.seconds:.2f} s",
            f"{cost.longest_ms:.1f} ms",
        )
        for network, cost in zip(results.networks, results.costs, strict=True)
    ]
    fits = []
    for head in (OURS, DENSE):
        cells = [_NAMES[head]]
        for size in results.sizes:
            some = results.some(results.networks[0], REGION, head, size)
            cells.append(f"{1000 * mean(row.seconds for row in some) if some else math.nan:.0f} ms")
        fits.append(cells)
    return (
        f"Memory of fresh processes and the time of a fit, {LABELS} labels of {COST_OF_EACH} examples:\n\n"
        f"{table(header, rows)}\n\n"
        f"The time of a fit, by the number of examples of each label ({results.machine}):\n\n"
        f"{table(('head', *map(str, results.sizes)), fits)}"
    )
