"""Every setting is documented, has a valid default, and says what a change takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.config.render import commented_yaml, with_settings_table
from edge_agent.config.schema import Config
from edge_agent.config.setting import Apply
from edge_agent.config.tree import leaves
from tests.config.samples import LEAVES

CHECKOUT = Path(__file__).parents[2]
REWRITE = "the schema has changed: run `python -m edge_agent.config.render` in the checkout"


@pytest.mark.parametrize("key", LEAVES)
def test_every_setting_says_what_it_is_and_what_a_change_takes(key: str) -> None:
    declared = LEAVES[key].setting
    assert isinstance(declared.apply, Apply)
    assert re.fullmatch(r"\S.*\S", declared.doc)
    assert declared.pattern is None or declared.pattern_help


@pytest.mark.parametrize("key", [leaf.key for leaf in leaves(Config()) if leaf.kind in (int, float)])
def test_every_number_has_a_limit_and_a_default_within_it(key: str) -> None:
    leaf = LEAVES[key]
    assert leaf.setting.at_least is not None
    assert leaf.value >= leaf.setting.at_least
    assert leaf.setting.at_most is None or leaf.value <= leaf.setting.at_most


def test_the_shipped_file_is_the_one_made_from_the_schema() -> None:
    shipped = (CHECKOUT / "config/edge-agent.yaml").read_text(encoding="utf-8")
    assert shipped == commented_yaml(Config()), REWRITE


def test_the_manual_documents_every_setting_as_it_is() -> None:
    manual = (CHECKOUT / "docs/configuration.md").read_text(encoding="utf-8")
    assert manual == with_settings_table(manual, Config()), REWRITE
    assert all(f"| `{key}` |" in manual for key in LEAVES)


def test_each_kind_of_change_is_needed_by_some_setting() -> None:
    assert {leaf.setting.apply for leaf in LEAVES.values()} == set(Apply)
