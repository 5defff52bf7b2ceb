"""Pieces of Prometheus's text format: https://prometheus.io/docs/instrumenting/exposition_formats/."""

from __future__ import annotations

from collections.abc import Mapping


def heading(name: str, kind: str, text: str) -> str:
    """The two lines above the samples of a metric; `kind` is `gauge` or `counter`."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def labelled(labels: Mapping[str, str]) -> str:
    """What stands behind a name: its labels, whose values are escaped as the format asks; empty for none."""
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
