"""Configuration as it is shown: masked, and as the file and the table made from the schema."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given

from edge_agent.config.loader import load, parse
from edge_agent.config.render import commented_yaml, masked, settings_table, with_settings_table
from edge_agent.config.schema import Config
from edge_agent.config.tree import leaves
from edge_agent.system.secret import Secret, SecretUrl
from tests.config.samples import LEAVES, configs, secret_texts, with_value

SECRET_KEYS = [key for key, leaf in LEAVES.items() if leaf.kind in (Secret, SecretUrl)]


def test_the_masked_configuration_is_nested_like_the_file() -> None:
    shown = masked(Config())
    assert list(shown) == [part.name for part in fields(Config)]
    assert shown["mqtt"]["tls"] == {"enabled": False, "ca_file": "", "cert_file": "", "key_file": ""}
    assert shown["model"]["path"] == "/var/lib/edge-agent/model"
    assert shown["model"]["affinity"] == []
    assert shown["mqtt"]["password"] == ""


@given(configs())
def test_every_setting_is_shown_as_plain_json(config: Config) -> None:
    shown = masked(config)
    assert json.loads(json.dumps(shown)) == shown
    for key in LEAVES:
        value = shown
        for name in key.split("."):
            value = value[name]


@pytest.mark.parametrize("key", SECRET_KEYS)
@given(secret=secret_texts())
def test_no_secret_can_be_read_in_what_is_shown(key: str, secret: Secret) -> None:
    kind = LEAVES[key].kind
    text = f"rtsp://me:{secret}@camera/{secret}" if kind is SecretUrl else secret
    config = with_value(Config(), key, kind(text))
    assert str(secret) not in json.dumps(masked(config), ensure_ascii=False)
    assert str(secret) not in repr(config)


def test_a_password_that_stands_where_its_file_should_is_not_shown() -> None:
    for path, shown in ((Path("Hunter2"), "***"), (Path("/etc/secret"), "/etc/secret"), (None, "")):
        config = with_value(Config(), "mqtt.password_file", path)
        assert masked(config)["mqtt"]["password_file"] == shown


def test_the_commented_file_is_valid_and_means_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "edge-agent.yaml"
    path.write_text(commented_yaml(Config()), encoding="utf-8")
    assert load(path, hostname="pi") == replace(Config(), device_id="pi")


def test_each_setting_of_the_commented_file_is_explained_above_and_limited_beside_it() -> None:
    lines = commented_yaml(Config()).splitlines()
    for leaf in leaves(Config()):
        name = leaf.key.rpartition(".")[2]
        written = [index for index, line in enumerate(lines) if line.strip().startswith(f"{name}: ")]
        assert any(
            lines[index - 1].strip().startswith("# ") and lines[index].endswith(leaf.setting.apply.value)
            for index in written
        )


def test_the_commented_file_fits_a_terminal() -> None:
    assert max(len(line) for line in commented_yaml(Config()).splitlines()) <= 110


def test_text_that_yaml_would_read_as_something_else_is_quoted() -> None:
    for text in ("on", "null", "5", "0x10", "a: b", "# x", "a #b", "- a", "", " a", "é", "2024-01-31", "<<"):
        config = with_value(Config(), "homeassistant.name", text)
        assert parse(commented_yaml(config), "x").homeassistant.name == text


def test_the_table_has_a_row_for_each_setting() -> None:
    rows = settings_table(Config()).splitlines()[2:]
    assert len(rows) == len(LEAVES)
    assert rows[1] == (
        "| `source.type` | `picamera2` | one of picamera2, v4l2, rtsp, http, file, folder |"
        " reopens the camera | Which kind of source; its own settings are in the section of that name. |"
    )


def test_only_what_is_between_the_marks_of_the_manual_is_replaced() -> None:
    manual = "before\n<!-- settings: begin -->\nold\n<!-- settings: end -->\nafter\n"
    renewed = with_settings_table(manual, Config())
    assert renewed.startswith("before\n<!-- settings: begin -->\n| setting |")
    assert renewed.endswith("<!-- settings: end -->\nafter\n")
    assert "old\n" not in renewed
    assert with_settings_table(renewed, Config()) == renewed
