"""Configuration files as their owners write them: what is accepted, and what is said of each mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.loader import device_id_from, load, parse
from edge_agent.config.problem import InvalidConfigError, Problem
from edge_agent.config.render import commented_yaml
from edge_agent.config.schema import Config
from tests.config.conftest import only
from tests.config.samples import LEAVES, configs

NAME = "edge-agent.yaml"

LEVELS = "must be one of debug, info, warning, error"
WHOLE = "must be a whole number"
CONTROL = "must not hold line breaks or control characters"
TAGS = "tags such as !!binary are not supported"
TOPIC = "must be a topic without +, # or $, and no / at its ends"
HOST = "must be a name or address, without scheme and port"
QUOTE = "put the text into quotes"
ESCAPES = "in double quotes, \\ begins an escape: use single quotes"
PLAIN = "write a plain decimal number"


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidConfigError) as caught:
        parse(text, NAME, hostname="pi")
    return caught.value.problems


def problem(text: str) -> Problem:
    return only(problems(text))


def parsed(text: str) -> Config:
    return parse(text, NAME, base=Path("/etc/edge-agent"), hostname="pi")


@given(configs())
def test_a_rendered_configuration_reads_back_as_it_was(config: Config) -> None:
    expected = config if config.device_id else replace(config, device_id="pi")
    assert parsed(commented_yaml(config)) == expected


def test_what_is_left_out_keeps_its_default() -> None:
    assert parsed("log:\n  level: debug\n") == replace(
        Config(), device_id="pi", log=replace(Config().log, level="debug")
    )


def test_a_section_whose_settings_are_all_commented_out_keeps_its_defaults() -> None:
    assert parsed("mqtt:\n  # host: x\nlabels:\n  allow:\n  map:\n") == replace(Config(), device_id="pi")


@pytest.mark.parametrize(
    ("text", "attribute", "expected"),
    [
        ("mqtt: {protocol: 5}", "protocol", "5"),
        ("mqtt: {protocol: 3.1.1}", "protocol", "3.1.1"),
        ("mqtt: {username: on}", "username", "on"),
        ("mqtt: {username: 0123}", "username", "0123"),
        ("mqtt: {username: 1.10}", "username", "1.10"),
        ("mqtt: {username: 2024-01-31}", "username", "2024-01-31"),
        ("mqtt: {username: =}", "username", "="),
        ("mqtt: {username: }", "username", ""),
        ("mqtt: {host: '::1'}", "host", "::1"),
        ("mqtt: {host: 192.168.1.2}", "host", "192.168.1.2"),
        ("mqtt: {reconnect_min_s: 2}", "reconnect_min_s", 2.0),
        ("mqtt: {reconnect_min_s: 1e1}", "reconnect_min_s", 10.0),
        ("mqtt: {password_file: mqtt-password}", "password_file", Path("mqtt-password")),
    ],
)
def test_a_value_means_what_its_owner_wrote(text: str, attribute: str, expected: object) -> None:
    user = "" if "username" in text else ", username: me"
    got = getattr(parsed(text.replace("}", f"{user}}}")).mqtt, attribute)
    assert (got, type(got)) == (expected, type(expected))


@pytest.mark.parametrize("written", ["true", "True", "yes", "on"])
def test_every_yaml_spelling_of_true_is_true(written: str) -> None:
    assert parsed(f"publish: {{image: {written}}}").publish.image is True


def test_lists_and_pairs_are_read() -> None:
    config = parsed("model: {affinity: [2, 3]}\nlabels:\n  map: {tabby: cat, 101: on}\n  allow:\n  - cat\n")
    assert config.model.affinity == (2, 3)
    assert config.labels.map == {"tabby": "cat", "101": "on"}
    assert config.labels.allow == ("cat",)


def test_relative_paths_are_relative_to_the_file(write: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    config = load(write("source: {type: folder, folder: {path: pictures}}\nmodel: {path: /srv/model}"))
    assert config.source.folder.path == tmp_path / "pictures"
    assert config.model.path == Path("/srv/model")


def test_a_dot_means_the_file_s_folder_and_not_an_empty_path(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    assert load(write("source: {type: folder, folder: {path: .}}")).source.folder.path == tmp_path


@pytest.mark.parametrize(
    ("hostname", "device_id"),
    [
        ("raspberrypi", "raspberrypi"),
        ("cam-1.home.lan", "cam-1"),
        ("Küche 2", "K-che-2"),
        ("...", "edge-agent"),
    ],
)
def test_an_empty_device_id_is_made_of_the_host_s_name(hostname: str, device_id: str) -> None:
    assert parse("device_id: ''", NAME, hostname=hostname).device_id == device_id


@given(st.text(max_size=100))
def test_whatever_the_host_s_name_the_device_id_is_valid(hostname: str) -> None:
    device_id = device_id_from(hostname)
    assert parse(f"device_id: '{device_id}'", NAME).device_id == device_id != ""


def test_every_problem_is_reported_at_once_with_its_line() -> None:
    text = """\
sorce: {type: folder}
source:
  type: foldr
  fps: 2fps
model:
  threads: true
memory:
  budget_mb: 1
"""
    assert [(found.line, found.column, found.key) for found in problems(text)] == [
        (1, 1, "sorce"),
        (3, 9, "source.type"),
        (4, 8, "source.fps"),
        (6, 12, "model.threads"),
        (8, 14, "memory.budget_mb"),
    ]


def test_the_message_is_one_line_for_each_problem() -> None:
    with pytest.raises(InvalidConfigError) as caught:
        parse("log: {levl: debug}\nmemory: {budget_mb: 8}", NAME)
    assert caught.value.details.splitlines() == [
        "edge-agent.yaml:1: log.levl: is not a setting (did you mean 'level'?)",
        "edge-agent.yaml:2: memory.budget_mb: must be 32 to 65536, not 8",
    ]
    assert str(caught.value).splitlines() == [
        "edge-agent.yaml:1: log.levl: is not a setting (did you mean 'level'?)",
        "edge-agent.yaml:2: memory.budget_mb: must be 32 to 65536",
    ]
    assert caught.value.summary == f"{str(caught.value).splitlines()[0]}, and 1 more"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("device-id: x", "device-id", "did you mean 'device_id'?"),
        ("MQTT: {}", "MQTT", "did you mean 'mqtt'?"),
        ("mqtt: {hostname: x}", "mqtt.hostname", "did you mean 'host'?"),
        ("budget_mb: 100", "budget_mb", "did you mean 'memory.budget_mb'?"),
        ("mqtt: {ca_file: x}", "mqtt.ca_file", "did you mean 'mqtt.tls.ca_file'?"),
        ("source: {path: x}", "source.path", "did you mean 'source.file.path' or 'source.folder.path'?"),
        (
            "control: {zzz: 1}",
            "control.zzz",
            "control has enabled, allow_patch, allow_head, allow_model, model_ca_file,"
            " model_watch_s, max_per_minute",
        ),
    ],
)
def test_an_unknown_setting_names_the_one_that_was_meant(text: str, key: str, hint: str) -> None:
    found = problem(text)
    assert (found.key, found.message, found.hint) == (key, "is not a setting", hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("log: {level: debig}", f"{LEVELS}, not the text 'debig'", "did you mean 'debug'?"),
        ("log: {level: [debug]}", f"{LEVELS}, not a list", ""),
        ("mqtt: {protocol: 5.0}", "must be one of auto, 5, 3.1.1, not the number 5.0", ""),
        ("publish: {image: 'true'}", "must be true or false, not the text 'true'", "remove the quotes"),
        ("publish: {image: ture}", "must be true or false, not the text 'ture'", "did you mean 'true'?"),
        ("publish: {image: 1}", "must be true or false, not the number 1", ""),
        ("publish: {image: }", "must be true or false, not empty", ""),
        ("model: {threads: true}", f"{WHOLE}, not true", ""),
        ("model: {threads: on}", f"{WHOLE}, not on, which YAML reads as true", ""),
        ("model: {threads: 2.5}", f"{WHOLE}, not the number 2.5", PLAIN),
        ("model: {threads: '2'}", f"{WHOLE}, not the text '2'", "remove the quotes"),
        ("model: {threads: 010}", f"{WHOLE}, not the number 010", PLAIN),
        ("model: {threads: 0x10}", f"{WHOLE}, not the number 0x10", PLAIN),
        ("model: {threads: two}", f"{WHOLE}, not the text 'two'", ""),
        ("model: {threads: {}}", f"{WHOLE}, not a section", ""),
        ("model: {threads: 999999999999999999}", "must be 0 to 64, not 999999999999999999", ""),
        (f"model: {{threads: {'9' * 5000}}}", f"{WHOLE}, not the number {'9' * 40}...", PLAIN),
        ("memory: {budget_mb: 128MB}", f"{WHOLE}, not the text '128MB'", "write the number alone: 128"),
        ("source: {fps: .nan}", "must be a number, not the number .nan", PLAIN),
        ("source: {fps: .inf}", "must be a number, not the number .inf", PLAIN),
        ("source: {fps: 1e999}", "must be a number, not the text '1e999'", ""),
        ("source: {fps: 1:30}", "must be a number, not the number 1:30", PLAIN),
        ("source: {fps: '0,5'}", "must be a number, not the text '0,5'", "write 0.5"),
        ("source: {fps: -1}", "must be 0 to 120, not -1.0", ""),
        ("source: {picamera2: {camera: -1}}", "must be at least 0, not -1", ""),
        ("device_id: a b", "must be at most 64 letters, digits, _ and -, not the text 'a b'", ""),
        ("device_id: [a]", "must be a text, not a list", QUOTE),
        ("device_id: 'a\n\n  b'", CONTROL, ""),
        ('device_id: "\\0"', CONTROL, ESCAPES),
        ('device_id: "\\ud800"', CONTROL, ESCAPES),
        ("device_id: !!binary aGk=", TAGS, "remove the tag"),
        ("device_id: !!python/object:os.system x", TAGS, "remove the tag"),
        ("mqtt: {base_topic: a/#}", f"{TOPIC}, not the text 'a/#'", ""),
        ("mqtt: {base_topic: /a}", f"{TOPIC}, not the text '/a'", ""),
        ("mqtt: {base_topic: a/}", f"{TOPIC}, not the text 'a/'", ""),
        ("mqtt: {host: 'pi:1883'}", f"{HOST}, not the text 'pi:1883'", ""),
        ("mqtt: {host: 'mqtt://pi'}", f"{HOST}, not the text 'mqtt://pi'", ""),
        ("mqtt: {host: ''}", f"{HOST}, not the text ''", ""),
        ("outbox: {path: ~/x}", "~ is not expanded here", "write the whole path"),
        ("labels: {allow: cat}", "must be a list, not the text 'cat'", "write [one, two], or [] for none"),
        ("labels: {map: [a]}", "must be pairs, not a list", "write {this: that}, or {} for none"),
        ("mqtt: 5", "must be a section of settings, not the number 5", ""),
        ("mqtt: !!set {host}", TAGS, "remove the tag"),
    ],
)
def test_a_message_says_which_value_was_expected_and_which_was_found(
    text: str, message: str, hint: str
) -> None:
    found = problem(text)
    assert (found.line, found.message, found.hint) == (1, message, hint)


@pytest.mark.parametrize(
    ("text", "key", "place"),
    [
        ("model:\n  affinity: [0, one, 2]", "model.affinity[1]", (2, 17)),
        ("model:\n  affinity:\n  - 0\n  - 5000", "model.affinity[1]", (4, 5)),
        ("labels:\n  map:\n    tabby: [cat]", "labels.map.tabby", (3, 12)),
        ("labels:\n  map:\n    ? [tabby]\n    : cat", "labels.map", (3, 7)),
    ],
)
def test_a_wrong_member_of_a_list_is_named(text: str, key: str, place: tuple[int, int]) -> None:
    found = problem(text)
    assert (found.key, (found.line, found.column)) == (key, place)


def test_a_setting_given_twice_is_refused_at_the_second_place() -> None:
    found = problem("log:\n  level: info\n  format: json\n  level: debug\n")
    assert (found.line, found.key) == (4, "log.level")
    assert found.message == "is given twice, first on line 2"
    assert problem("log: {}\nmqtt: {}\nlog: {}").key == "log"
    assert problem("labels: {map: {a: b, c: d, a: e}}").key == "labels.map.a"


@pytest.mark.parametrize(
    ("text", "line", "part", "hint"),
    [
        ("log:\n\tlevel: info\n", 2, "'\\t'", "write spaces instead of tabs"),
        ("log:\n  level: info\n format: json\n", 3, "begun on line 1", "lines of one section"),
        ("mqtt:\n  username: a: b\n", 2, "mapping values are not allowed", "needs quotes"),
        ("mqtt:\n  password: @secret\n", 2, "cannot start any token", "put the value into quotes"),
        ("mqtt:\n  password: 'x\nlog: {}\n", 4, "begun on line 2", "a quote was opened"),
        ("log: {}\nmodel\nmqtt: {}\n", 3, "could not find expected ':'", "write `name: value`"),
        ("model:\n  affinity: [1, 2\nlog: {}\n", 3, "begun on line 2", ""),
        ("log: {}\n---\nlog: {}\n", 2, "found another document", "remove the line `---`"),
        ("mqtt: &a {}\nlog: *a\n", 2, "aliases (*name) are not supported", ""),
        ("log: " + "[" * 1000, 1, "is nested too deeply", ""),
        ("log: {}\nmqtt: \x01\n", 2, "U+0001", ""),
        ('log: "\\Uffffffff"', 0, "not valid YAML", "double quotes"),
        ("- log\n", 1, "must consist of lines `name: value`", ""),
        ("just text", 1, "must consist of lines `name: value`", ""),
    ],
)
def test_a_file_that_is_not_yaml_says_where_and_what_to_do(
    text: str, line: int, part: str, hint: str
) -> None:
    found = problem(text)
    assert found.line == line
    assert part in found.message
    assert hint in found.hint


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_file_is_not_taken_for_the_defaults(text: str) -> None:
    assert problem(text).message == "is empty"


def test_a_file_that_is_not_utf_8_says_where(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes("log: {}\nhomeassistant:\n  name: Küche\n".encode("latin-1"))
    with pytest.raises(InvalidConfigError) as caught:
        load(path)
    assert (only(caught.value.problems).line, only(caught.value.problems).column) == (3, 10)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(b"\xef\xbb\xbfdevice_id: pi\r\n")
    assert load(path).device_id == "pi"


def test_a_file_too_large_for_settings_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text("#" * 300_000)
    with pytest.raises(InvalidConfigError, match="larger than 256 KiB"):
        load(path)


@pytest.mark.parametrize(("name", "reason"), [("gone.yaml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InvalidConfigError, match=f"{tmp_path}.*{reason}"):
        load(tmp_path / name)


def test_a_secret_value_is_never_quoted() -> None:
    text = "mqtt: {password: hunter2}\nsource: {rtsp: {url: 'http://me:hunter2@camera/'}}\nlog: {level: x}"
    with pytest.raises(InvalidConfigError) as caught:
        parse(text, NAME)
    assert len(caught.value.problems) == 3
    assert "hunter2" not in str(caught.value)


_WORDS = st.sampled_from(sorted({word for key in LEAVES for word in key.split(".")}))
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | _WORDS | st.dates()
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(_TREES)
def test_any_yaml_is_either_valid_or_refused_with_lines_that_exist(tree: Any) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    _survives(text)


@given(st.text())
def test_any_text_is_either_valid_or_refused(text: str) -> None:
    _survives(text)


_SHIPPED = commented_yaml(Config())


@given(st.integers(0, len(_SHIPPED)), st.integers(0, 40), st.text(max_size=10))
def test_a_damaged_shipped_file_is_either_valid_or_refused(start: int, length: int, other: str) -> None:
    _survives(_SHIPPED[:start] + other + _SHIPPED[start + length :])


def _survives(text: str) -> None:
    result = _parsed_or_error(text)
    if isinstance(result, Config):
        assert result.device_id
        return
    lines = len(text.splitlines()) + 1
    assert all(0 <= found.line <= lines for found in result.problems)
    assert len(str(result).splitlines()) == len(result.problems) > 0
    assert len(result.details.splitlines()) == len(result.problems)
    assert result.details.isascii() or all(line.isprintable() for line in result.details.splitlines())


def _parsed_or_error(text: str) -> Config | InvalidConfigError:
    try:
        return parse(text, NAME, hostname="pi")
    except InvalidConfigError as error:
        return error
