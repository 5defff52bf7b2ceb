"""Settings are changed in the file, and everything that its owner wrote around them stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_agent.config.edit import edit_file, edited, write_edited
from edge_agent.config.loader import parse
from edge_agent.config.problem import InvalidConfigError
from edge_agent.config.render import commented_yaml, shown, yaml_value
from edge_agent.config.schema import Config
from edge_agent.config.setting import Apply
from edge_agent.config.tree import leaves
from edge_agent.errors import ConfigError
from tests.config.samples import LEAVES, configs, obeys_rules, values, with_value

LIVE = sorted(key for key, leaf in LEAVES.items() if leaf.setting.apply is Apply.LIVE)
FILE = """\
# The porch.
source:
  type: v4l2   # the good one
  fps: 2.0     # enough
labels:
  allow:  # only these
    - cat   # ours
    - dog
  # end of labels

stabilizer: {window: 3, votes: 2}  # short
log:
# nothing behind this
"""


def edit(text: str, **settings: Any) -> str:
    return edited(text, "f.yaml", {key.replace("__", "."): value for key, value in settings.items()})


def test_a_value_is_exchanged_and_its_comment_stays() -> None:
    assert edit(FILE, source__fps=0.5) == FILE.replace("fps: 2.0 ", "fps: 0.5 ")


def test_a_missing_setting_goes_to_the_end_of_its_section() -> None:
    assert '  fps: 2.0     # enough\n  rotate: "90"\nlabels:' in edit(FILE, source__rotate="90")


def test_a_list_below_its_name_becomes_one_in_brackets() -> None:
    after = edit(FILE, labels__allow=["cat", "cow 2"])
    assert '  allow:  # only these\n    [cat, "cow 2"]\n  # end of labels\n' in after


def test_a_list_that_is_not_indented_keeps_its_place() -> None:
    after = edit("labels:\n  allow:\n  - cat\n  - dog\nlog: {level: info}\n", labels__allow=["cow"])
    assert parse(after, "f").labels.allow == ("cow",)


@pytest.mark.parametrize(
    "text",
    [
        "log:\n",
        "log: \n",
        "log:",
        "log: ~  # none\n",
        "log: {}\n",
        "log: {format: json}",
        "{log: {}}",
        "a: b",
    ],
)
def test_every_way_to_write_a_section_takes_a_setting(text: str) -> None:
    text = text.replace("a: b", "device_id: porch")
    assert parse(edit(text, log__level="debug"), "f").log.level == "debug"


def test_a_missing_section_in_a_section_is_made() -> None:
    assert edit("mqtt:\n    host: x\n", mqtt__tls__enabled=True) == (
        "mqtt:\n    host: x\n    tls:\n      enabled: true\n"
    )
    assert edit("mqtt: {host: x}", mqtt__tls__enabled=True) == "mqtt: {host: x, tls: {enabled: true}}"


def test_several_settings_are_taken_together() -> None:
    after = parse(edit(FILE, stabilizer__window=9, stabilizer__votes=8, log__level="debug"), "f")
    assert (after.stabilizer.window, after.stabilizer.votes, after.log.level) == (9, 8, "debug")


def test_lines_end_as_they_did() -> None:
    after = edit("log:\r\n  level: info\r\n", log__format="json", device_id="x")
    assert after == "log:\r\n  level: info\r\n  format: json\r\ndevice_id: x\r\n"


def test_a_long_text_gives_way_with_all_of_its_lines() -> None:
    text = "homeassistant:\n  name: |-\n    The porch\n  enabled: true\n"
    assert edit(text, homeassistant__name="Yard") == "homeassistant:\n  name: Yard\n  enabled: true\n"
    assert parse(edit(text, log__level="debug"), "f").log.level == "debug"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "name 1 to 100"),
        ({"source.speed": 1}, "source.speed is not a setting"),
        ({"source": {"fps": 1}}, "source is not a setting"),
        ({"source.fps": None}, "source.fps takes a number"),
        ({"source.fps": [[1]]}, "source.fps: must be a number"),
        ({"source.fps": [[[[1]]]]}, "source.fps takes a number"),
        ({"source.fps": "fast"}, "source.fps: must be a number"),
        ({"source.fps": 1000}, "source.fps: must be 0 to 120"),
        ({"stabilizer.votes": 4}, "votes"),
        ({"labels.map": {"cat": "unknown"}}, "labels.map"),
        ({"homeassistant.name": "a\nb"}, "line breaks"),
    ],
)
def test_what_the_file_could_not_say_is_refused_whole(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        edited(FILE, "f.yaml", {"log.level": "debug"} | settings if settings else settings)


def test_a_file_that_is_wrong_already_is_not_edited() -> None:
    with pytest.raises(InvalidConfigError):
        edit("source: {fpss: 1}", source__fps=1)


def test_what_would_outgrow_a_settings_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="256 KiB"):
        edit(FILE, labels__allow=["x" * 300_000])


def test_a_whole_number_may_come_with_a_point() -> None:
    assert "window: 5," in edit(FILE, stabilizer__window=5.0)


@given(configs(), st.sampled_from(LIVE), st.data())
def test_any_setting_of_any_file_is_changed_and_no_other(
    config: Config, key: str, data: st.DataObject
) -> None:
    value = data.draw(values(LEAVES[key]))
    wanted = with_value(config, key, value)
    leaf = next(leaf for leaf in leaves(wanted) if leaf.key == key)
    assume(obeys_rules(wanted))
    text = commented_yaml(config)
    after = edited(text, "f.yaml", {key: shown(leaf)}, base=Path("/"))
    assert parse(after, "f", base=Path("/"), hostname="x") == parse(
        commented_yaml(wanted), "f", base=Path("/"), hostname="x"
    )
    untouched = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in after.splitlines() if line.lstrip().startswith("#")] == untouched


def test_the_file_keeps_its_mode_and_the_link_that_leads_to_it(tmp_path: Path) -> None:
    file, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    file.write_text(FILE)
    file.chmod(0o640)
    link.symlink_to(file)
    before = os.umask(0o077)
    try:
        write_edited(link, edit_file(link, {"source.fps": 1})[1])
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert "fps: 1 " in file.read_text()


def test_a_file_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ReadWritePaths"):
        write_edited(tmp_path / "missing.yaml", FILE)


_NAMES = st.sampled_from(("tabby", "Egyptian cat", "pug", "no", "7", "a: b", "cow"))
_PAIRS = st.dictionaries(_NAMES, st.sampled_from(("cat", "dog", "a # b", "null")), max_size=5)


@given(_PAIRS.filter(bool), _PAIRS, st.booleans())
def test_pairs_become_those_asked_for_and_those_that_stay_keep_their_comments(
    before: dict[str, str], asked: dict[str, str], is_deep: bool
) -> None:
    indent = "    " if is_deep else "  "
    pairs = [
        f"{indent}# above {number}\n{indent}{yaml_value(name)}: {yaml_value(value)}  # at {number}\n"
        for number, (name, value) in enumerate(before.items())
    ]
    text = f"labels:\n  map:\n{''.join(pairs)}  deny: [x]  # last\n" if is_deep else ""
    text = text or f"labels:\n map:\n{''.join(pairs)} deny: [x]  # last\n"
    after = edit(text, labels__map=asked)
    assert parse(after, "f.yaml").labels.map == asked
    assert "deny: [x]  # last" in after
    if asked:
        assert all(f"# above {number}\n" in after for number in range(len(before)))
    staying = [number for number, pair in enumerate(before.items()) if pair in asked.items()]
    assert all(f"# at {number}\n" in after for number in staying)
