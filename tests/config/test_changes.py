"""What an edit takes: nothing, the camera, the broker connection, or a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.changes import Change, Changes, diff, without_values
from edge_agent.config.schema import Config
from edge_agent.config.setting import Apply
from edge_agent.config.tree import Leaf
from edge_agent.system.secret import Secret, SecretUrl
from tests.config.samples import changed_settings, configs, with_value


@given(configs())
def test_a_configuration_does_not_differ_from_itself(config: Config) -> None:
    changes = diff(config, config)
    assert not changes
    assert changes.kinds == frozenset()


@given(configs().flatmap(lambda config: st.tuples(st.just(config), changed_settings(config))))
def test_a_changed_setting_is_the_only_change_and_takes_what_it_declares(
    case: tuple[Config, tuple[Leaf, Any]],
) -> None:
    config, (leaf, value) = case
    changed = with_value(config, leaf.key, value)
    (change,) = diff(config, changed)
    assert change.key == leaf.key
    section, kind = (*leaf.key.split("."), "")[:2]
    of_another_source = section == "source" and leaf.key.count(".") == 2 and kind != config.source.type
    assert change.apply is (Apply.LIVE if of_another_source else leaf.setting.apply)


@given(configs(), configs())
def test_a_difference_is_the_same_both_ways_round(one: Config, other: Config) -> None:
    there, back = diff(one, other), diff(other, one)
    assert [(change.key, change.old, change.new) for change in there] == [
        (change.key, change.new, change.old) for change in back
    ]
    assert there.kinds == back.kinds
    assert (one == other) == (not there)


def test_switching_to_another_source_reopens_it_with_its_own_settings() -> None:
    old = with_value(Config(), "source.type", "v4l2")
    new = with_value(with_value(Config(), "source.type", "rtsp"), "source.rtsp.url", SecretUrl("rtsp://h/x"))
    changes = diff(old, new)
    assert [(change.key, change.apply) for change in changes] == [
        ("source.type", Apply.SOURCE),
        ("source.rtsp.url", Apply.SOURCE),
    ]


def test_a_changed_secret_is_a_change_that_shows_neither_value() -> None:
    old = with_value(Config(), "mqtt.password", Secret("hunter2"))
    new = with_value(Config(), "mqtt.password", Secret("hunter3"))
    changes = diff(old, new)
    assert changes == Changes((Change("mqtt.password", "***", "***", Apply.BROKER),))


def test_a_section_is_touched_by_a_setting_inside_it_only() -> None:
    changes = diff(Config(), with_value(Config(), "mqtt.tls.enabled", True))
    assert changes.touches("mqtt")
    assert changes.touches("mqtt.tls")
    assert changes.touches("mqtt.tls.enabled")
    assert not changes.touches("mqtt.tls.enable")
    assert not changes.touches("mqtt.t")
    assert changes.describe() == "mqtt.tls.enabled"


def test_what_a_message_quotes_of_the_changed_settings_is_masked(tmp_path: Path) -> None:
    new = with_value(with_value(Config(), "model.path", tmp_path / "Hunter2"), "labels.allow", ("a.b", "a"))
    message = f"no model.json in {tmp_path}/Hunter2/; a.b is no label, nor is a, but 'axb' is"
    assert without_values(message, new, diff(Config(), new)) == (
        f"no model.json in {tmp_path}/***/; *** is no label, nor is ***, but 'axb' is"
    )
    assert without_values(message, new, diff(new, new)) == message


def test_a_path_that_exists_is_no_secret(tmp_path: Path) -> None:
    new = with_value(Config(), "model.path", tmp_path)
    assert without_values(f"{tmp_path}: no model", new, diff(Config(), new)) == f"{tmp_path}: no model"


@pytest.mark.parametrize("path", [Path("Hunter2"), Path("/" + "Hunter2" * 100)])
def test_of_a_path_that_is_none_nothing_is_shown(path: Path) -> None:
    new = with_value(Config(), "model.path", path)
    assert "Hunter2" not in without_values(f"{path}: no model", new, diff(Config(), new))
