"""The figures as an SVG picture, drawn by matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from benchmarks.teaching.results import DENSE, MEANS, OURS, REGION, REGRESSION, WHOLE, Results, of_marks
from edge_agent.tools.bench.chart import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = (
    (OURS, REGION, "this agent", "#0b7a75", "-"),
    (MEANS, REGION, "class means alone", "#7fb3b0", "--"),
    (REGRESSION, REGION, "regression alone", "#4f6d7a", "--"),
    (DENSE, REGION, "Dense layer", "#d1495b", "-"),
    (OURS, WHOLE, "this agent, whole picture", "#0b7a75", ":"),
)


def svg(results: Results) -> str:
    """Accuracy, and strangers taken for known, by the number of examples; a whole SVG document."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    document = io.StringIO()
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.2), dpi=72, layout="constrained")
        right, strange = figure.subplots(1, 2)
        _draw(right, results, "accuracy", "Accuracy on other days, %")
        _draw(strange, results, "strangers", "Strangers taken for known, %, at 95 % recall")
        right.legend(frameon=False, fontsize=9)
        strange.set_ylim(bottom=0)
        figure.savefig(document, format="svg", metadata={"Date": None})
    return document.getvalue()


def _draw(axes: Axes, results: Results, mark: str, title: str) -> None:
    for head, view, name, colour, style in _LINES:
        values = [
            100
            * of_marks(
                results.some(results.networks[0], view, head, size), lambda marks: getattr(marks, mark)
            )
            for size in results.sizes
        ]
        axes.plot(results.sizes, values, style, color=colour, label=name, marker="o", markersize=4)
    axes.set_title(title)
    axes.set_xscale("log")
    axes.set_xticks(results.sizes, [str(size) for size in results.sizes])
    axes.minorticks_off()
    axes.set_xlabel("examples of each label")
