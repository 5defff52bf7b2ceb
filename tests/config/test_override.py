"""Settings changed on request: a few numbers, within their limits, until the file is read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config.live import LiveConfig
from edge_agent.config.loader import load, parse
from edge_agent.config.override import SETTABLE, overridden
from edge_agent.errors import ConfigError

CONFIG = parse("stabilizer: {hysteresis: 0.2}", "edge-agent.yaml", hostname="porch")


def test_only_what_was_named_changes() -> None:
    changed = overridden(CONFIG, {"source.fps": 7, "stabilizer.threshold": 0.5})
    assert (changed.source.fps, changed.stabilizer.threshold) == (7.0, 0.5)
    assert overridden(changed, {"source.fps": CONFIG.source.fps, "stabilizer.threshold": 0.3}) == CONFIG


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "name a setting"),
        ({"source.fps": 121}, "source.fps must be 0 to 120, not 121"),
        ({"source.fps": -1}, "source.fps must be 0 to 120"),
        ({"stabilizer.threshold": 1.01}, "stabilizer.threshold must be 0 to 1"),
        ({"stabilizer.threshold": 0.1}, "stabilizer.hysteresis must not be above threshold"),
        ({"mqtt.port": 1}, "mqtt.port cannot be set: those that can are source.fps"),
        ({"source": 1}, "source cannot be set"),
        ({"a\x1b[2J" * 100: 1}, r"a\x1b[2J"),
    ],
)
def test_what_may_not_be_set_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        overridden(CONFIG, settings)
    assert message in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 200


def test_whatever_is_settable_exists() -> None:
    for key in SETTABLE:
        overridden(CONFIG, {key: 0.5})


def test_it_lasts_until_the_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "edge-agent.yaml"
    file.write_text("source: {fps: 3}\n")
    live = LiveConfig(file, load(file))
    assert live.override({"source.fps": 5}).changes.describe() == "source.fps"
    assert live.config.source.fps == 5
    live.reload()
    assert live.config.source.fps == 3
