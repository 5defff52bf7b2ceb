"""Configurations and settings made up by hypothesis from the schema itself."""

from __future__ import annotations

import typing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from hypothesis import strategies as st

from edge_agent.config.characters import doubtful
from edge_agent.config.rules import RULES
from edge_agent.config.schema import Config, PeriodConfig, RegionConfig
from edge_agent.config.tree import Leaf, leaves
from edge_agent.system.secret import Secret, SecretUrl

LEAVES = {leaf.key: leaf for leaf in leaves(Config())}

# A setting may hold anything that an owner can type and see.
_CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"])
_TEXTS = st.text(_CHARACTERS, max_size=20).filter(lambda text: doubtful(text, is_technical=False)[0] == "")


def values(leaf: Leaf) -> st.SearchStrategy[Any]:
    """Values that the setting accepts on its own."""
    if typing.get_origin(leaf.kind) is Literal:
        return st.sampled_from(typing.get_args(leaf.kind))
    if typing.get_origin(leaf.kind) is tuple:
        item, _ = typing.get_args(leaf.kind)
        return st.lists(_scalars(item, leaf), max_size=4).map(tuple)
    if leaf.key == "regions":
        names = st.from_regex(leaf.setting.pattern or "", fullmatch=True).filter(lambda name: name != "frame")
        return st.dictionaries(names, regions(), max_size=4)
    if leaf.key == "periods":
        names = st.from_regex(leaf.setting.pattern or "", fullmatch=True)
        return st.dictionaries(names, periods(), max_size=4)
    if leaf.kind == dict[str, float]:
        return st.dictionaries(_TEXTS, _scalars(float, leaf), max_size=4)
    if typing.get_origin(leaf.kind) is dict:
        return st.dictionaries(_TEXTS, _TEXTS.filter(lambda text: text not in ("", "unknown")), max_size=4)
    return _scalars(leaf.kind, leaf)


@st.composite
def regions(draw: st.DrawFn) -> RegionConfig:
    """Boxes and polygons within the picture."""
    if draw(st.booleans()):
        more = draw(st.lists(st.floats(0, 1), max_size=26).filter(lambda numbers: len(numbers) % 2 == 0))
        return RegionConfig(polygon=(0.1, 0.1, 0.9, 0.2, 0.5, 0.9, *more))
    left, top = draw(st.floats(0, 0.9)), draw(st.floats(0, 0.9))
    width, height = draw(st.floats(0.01, 1 - left)), draw(st.floats(0.01, 1 - top))
    return RegionConfig((left, top, width, height), draw(st.integers(1, 100)))


@st.composite
def periods(draw: st.DrawFn) -> PeriodConfig:
    """Some of the time."""
    hours = draw(
        st.lists(st.sampled_from(("07:00-22:30", "22:00-06:00", "00:00-24:00")), min_size=1, max_size=3)
    )
    return PeriodConfig(tuple(hours), draw(st.sampled_from(("any", "day", "night"))))


def _scalars(kind: Any, leaf: Leaf) -> st.SearchStrategy[Any]:
    declared = leaf.setting
    if kind is bool:
        return st.booleans()
    if kind is int:
        assert declared.at_least is not None
        most = None if declared.at_most is None else int(declared.at_most)
        return st.integers(int(declared.at_least), 10**9 if most is None else most)
    if kind is float:
        return st.floats(declared.at_least, declared.at_most)
    if kind in (Path, Path | None):
        paths = st.text("abc/._ -é", min_size=1, max_size=12).map(lambda end: Path("/x" + end))
        return paths if kind is Path else st.none() | paths
    if kind is SecretUrl:
        scheme = leaf.key.split(".")[1]
        urls = ("", f"{scheme}://camera/live", f"{scheme}s://me:secret@10.0.0.2:8554/a?b=c")
        return st.sampled_from(urls).map(kind)
    if leaf.key == "web.listen":
        return st.sampled_from(("127.0.0.1:8384", "0.0.0.0:80", "[::1]:65535", "[fe80::1]:8080"))
    if leaf.key == "web.hosts":
        return st.sampled_from(("camera.example", "porch", "10.0.0.2"))
    if leaf.key == "mqtt.hosts":
        return st.sampled_from(("broker", "broker.home:1884", "10.0.0.2", "fe80::1", "[fe80::1%eth0]:1883"))
    if leaf.key == "mqtt.host":
        return st.sampled_from(("broker", "broker.home.", "10.0.0.2", "fe80::1", "bücher.example", "東京"))
    if declared.pattern is not None:
        matching = st.from_regex(declared.pattern, fullmatch=True, alphabet=_CHARACTERS)
        return matching.filter(lambda text: doubtful(text, is_technical=True)[0] == "").map(kind)
    return _TEXTS.map(kind)


def with_value(config: Config, key: str, value: Any) -> Config:
    """The configuration with one setting replaced."""
    return typing.cast(Config, _with_value(config, key.split("."), value))


def _with_value(section: Any, names: list[str], value: Any) -> Any:
    name, *deeper = names
    return replace(section, **{name: _with_value(getattr(section, name), deeper, value) if deeper else value})


@st.composite
def changed_settings(draw: st.DrawFn, config: Config) -> tuple[Leaf, Any]:
    """A setting, and a value for it that `config` does not have."""
    leaf = LEAVES[draw(st.sampled_from(sorted(LEAVES)))]
    present = next(now.value for now in leaves(config) if now.key == leaf.key)
    return leaf, draw(values(leaf).filter(lambda value: value != present))


def obeys_rules(config: Config) -> bool:
    """Whether the settings go together."""
    return not any(violation for rule in RULES for violation in rule(config))


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Configurations that differ from the defaults in a few settings, and are valid."""
    config = Config()
    for _ in range(draw(st.integers(0, 8))):
        leaf, value = draw(changed_settings(config))
        changed = with_value(config, leaf.key, value)
        if obeys_rules(changed):
            config = changed
    return config


def secret_texts() -> st.SearchStrategy[Secret]:
    """Passwords that cannot be found in a configuration by chance."""
    return st.text(_CHARACTERS, min_size=1).map(lambda text: Secret(f"Zq{text}qZ"))
