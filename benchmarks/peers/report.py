"""The comparison as a table, as JSON and as a chart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.peers.match import Absent, Row
from edge_agent.tools.measure.table import table

_BASE = "native, FP16 weights"
_HEADER = ("what runs", "p50 ms", "times native", "load s", "peak MB", "steady MB", "anonymous MB", "error")


def markdown(rows: Sequence[Row], absent: Sequence[Absent], gflops: float) -> str:
    """A table for each network, number of threads and load; then who could not take part."""
    parts = [f"numpy's matrix product reaches {gflops:.0f} GFLOP/s here.\n"]
    for key in dict.fromkeys((row.network, row.threads, row.busy) for row in rows):
        network, threads, busy = key
        some = [row for row in rows if (row.network, row.threads, row.busy) == key]
        base = next((row.p50_ms for row in some if row.name == _BASE), None)
        beside = ", beside a busy process on each core" if busy else ""
        parts.append(f"{network}, {threads} thread{'s' if threads != 1 else ''}{beside}:\n")
        parts.append(table(_HEADER, [_cells(row, base) for row in some]) + "\n")
    parts += [f"{a.network}, {a.threads} threads: {a.name} did not take part: {a.reason}" for a in absent]
    return "\n".join(parts)


def _cells(row: Row, base_ms: float | None) -> tuple[str, ...]:
    return (
        f"{row.name} ({row.arithmetic})",
        f"{row.p50_ms:.2f}",
        f"{row.p50_ms / base_ms:.2f}" if base_ms else "",
        f"{row.load_s:.2f}",
        f"{row.peak_mb:.0f}",
        f"{row.steady_mb:.0f}",
        f"{row.anon_mb:.0f}",
        f"{row.error:.1e}",
    )


def to_json(rows: Sequence[Row], absent: Sequence[Absent], gflops: float) -> str:
    document = {"rows": [asdict(r) for r in rows], "absent": [asdict(a) for a in absent], "gflops": gflops}
    return json.dumps(document, indent=2) + "\n"


def svg(rows: Sequence[Row]) -> str:
    """Latency against memory, a panel for each network: the most threads, on an idle machine."""
    import io

    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "peers"
    from matplotlib import pyplot

    most = max(row.threads for row in rows)
    shown = [row for row in rows if row.threads == most and not row.busy]
    networks = list(dict.fromkeys(row.network for row in shown))
    figure, axes = pyplot.subplots(1, len(networks), figsize=(4.2 * len(networks), 4), squeeze=False)
    for axis, network in zip(axes[0], networks, strict=True):
        for row in (row for row in shown if row.network == network):
            colour = "#0b7a75" if row.name.startswith("native") else "#9aa9b5"
            axis.scatter(row.p50_ms, row.peak_mb, color=colour)
            place = (row.p50_ms, row.peak_mb)
            axis.annotate(row.name, place, fontsize=6, xytext=(3, 3), textcoords="offset points")
        axis.set(title=network, xlabel="ms a picture", xlim=(0, None), ylim=(0, None))
    axes[0][0].set_ylabel("peak memory of the process, MB")
    figure.tight_layout()
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()
