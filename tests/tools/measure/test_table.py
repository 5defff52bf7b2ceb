"""Tables of figures."""

from __future__ import annotations

from edge_agent.tools.measure.table import table


def test_columns_line_up() -> None:
    lines = table(("name", "MB"), [("a", "1"), ("longer", "100")]).splitlines()
    assert lines == ["| name   |  MB |", "| ------ | --: |", "| a      |   1 |", "| longer | 100 |"]
