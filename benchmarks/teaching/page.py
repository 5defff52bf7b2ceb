"""The figures as a section of a document, between two marks."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.teaching.cost import LABELS
from benchmarks.teaching.cost import OF_EACH as COST_OF_EACH
from benchmarks.teaching.heads import HEADS
from benchmarks.teaching.results import (
    DENSE,
    EACH_FRAME,
    OF_EACH,
    OURS,
    REGION,
    WHOLE,
    Judged,
    Results,
    mean,
    of_marks,
    targets,
)
from benchmarks.teaching.scenes import TUNED_ON
from edge_agent.errors import UsageError
from edge_agent.tools.measure.table import table

BEGIN, END = (
    "<!-- what follows is written by make teach-bench -->",
    "<!-- end of what make teach-bench writes -->",
)

_EVENTS = ("changes a day", "missed", "false events", "without hysteresis", f"of the {DENSE} layer")
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
    return f"{lead}\n\n{table(('target', 'found', ''), rows)}\n\n{_set_apart(results)}"


def _set_apart(results: Results) -> str:
    """Strangers where constants were set, and where they were not."""
    apart = [scene for scene in results.scenes if scene not in TUNED_ON]
    tuned = [scene for scene in results.scenes if scene in TUNED_ON]
    found = [
        f"{100 * mean(mean(each.marks.strangers for each in _ours(results, scene)) for scene in some):.1f} %"
        f" on {', '.join(some)}"
        for some in (tuned, apart)
        if some
    ]
    return f"Of strangers are taken for known: {'; '.join(found)}."


def _ours(results: Results, scene: str) -> list[Judged]:
    return results.some(results.networks[0], REGION, OURS, OF_EACH, scene)


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
        ours, each_frame, dense = (
            [
                each.events
                for each in results.days
                if (each.network, each.scene, each.head) == (network, scene, head)
            ]
            for head in (OURS, EACH_FRAME, DENSE)
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
                f"{mean(each.false for each in each_frame):.1f}",
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
    header = ("network", "features", "heads", "without", "with", "more", "of it its own", "more at the peak")
    rows = [
        (
            network,
            str(cost.features),
            heads,
            f"{memory.without_mb:.1f} MB",
            f"{memory.with_mb:.1f} MB",
            f"{memory.added_mb:.1f} MB",
            f"{memory.own_mb:.1f} MB",
            f"{memory.added_at_peak_mb:.1f} MB",
        )
        for network, cost in zip(results.networks, results.costs, strict=True)
        for heads, memory in (("one", cost.memory), ("and by day and at night", cost.with_periods))
        if memory
    ]
    fits = []
    for head in (OURS, DENSE):
        cells = [_NAMES[head]]
        for size in results.sizes:
            some = results.some(results.networks[0], REGION, head, size)
            cells.append(f"{1000 * mean(row.seconds for row in some) if some else math.nan:.0f} ms")
        fits.append(cells)
    cost = results.costs[0]
    return (
        f"Resident memory of the whole agent (VmRSS), and its peak (VmHWM), {LABELS} labels of {COST_OF_EACH}"
        f" examples:\n\n{table(header, rows)}\n\n"
        f"A fit to them takes {cost.seconds:.2f} s, in {cost.slices} slices of at most"
        f" {cost.longest_ms:.0f} ms, between which frames are answered. By the"
        f" number of examples of each label ({results.machine}):\n\n"
        f"{table(('head', *map(str, results.sizes)), fits)}"
    )
