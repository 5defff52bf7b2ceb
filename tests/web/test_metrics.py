"""The text that Prometheus reads."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.web.metrics import exposition
from tests.mqtt import samples

_LINE = re.compile(
    r'edge_agent_[a-z_]+({([a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*})? -?([0-9.]+(e[+-]?[0-9]+)?|NaN)'
)


def values(text: str) -> dict[str, float]:
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_it_has_the_figures_of_health_in_base_units() -> None:
    found = values(exposition([samples.state()], samples.health(), samples.info()))
    assert found["edge_agent_memory_budget_bytes"] == 128 * (1 << 20)
    assert found['edge_agent_latency_seconds{quantile="0.5"}'] == 0.09204
    assert found["edge_agent_broker_connected"] == 1
    assert found["edge_agent_temperature_celsius"] == 51.13
    assert found['edge_agent_label_score{label="tabby",region=""}'] == 0.61239


def test_what_is_not_known_is_left_out() -> None:
    health = samples.health()
    unknown = replace(health, fps=None, board=replace(health.board, temperature_c=None))
    text = exposition([], unknown, samples.info())
    assert "temperature" not in text
    assert "frames_per_second" not in text


@given(st.text())
def test_no_label_can_break_out_of_its_line(label: str) -> None:
    text = exposition([samples.state(label=label)], samples.health(), samples.info())
    for line in text.split("\n")[:-1]:
        assert line.startswith("# ") or _LINE.fullmatch(line), line
