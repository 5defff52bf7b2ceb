"""What YAML reads differently from what the owner sees, and what looks different from what it is."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.loader import parse
from edge_agent.config.problem import InvalidConfigError, Problem

NAME = "edge-agent.yaml"
TEXTS = ("mqtt:\n  username: me\n  password:", "homeassistant:\n  name:", "source:\n  rtsp:\n    url:")


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidConfigError) as caught:
        parse(text, NAME, hostname="pi")
    return caught.value.problems


@pytest.mark.parametrize("setting", TEXTS)
@pytest.mark.parametrize(
    "written",
    [
        "#s3cret",
        "#",
        "s3 #cret",
        "&s3cret",
        "&s3 cret",
        "*s3cret",
        "!s3cret",
        "! s3cret",
        "!s3 cret",
        "!",
        "!!s3cret x",
        "!s3!cret x",
        "!<s3cret> x",
        "%s3cret",
        "@s3cret",
        "`s3cret",
        "? s3cret",
        "- s3cret",
        "{s3cret",
        "{s3cret}",
        "[s3cret",
        "[s3cret]",
        "}s3cret",
        "]s3cret",
        ",s3cret",
        "|s3cret",
        "|",
        ">s3cret",
        ">",
        "s3: cret",
        "s3cret:",
        "'s3cret",
        '"s3cret',
        "'s3'cret'",
        '"s3"cret',
        '"s3\\qcret"',
        '"s3\\ncret"',
        "s3\n      cret",
        "~",
        "null",
        "NULL  # s3cret",
        "*s3cret*",
        "!!binary czNjcmV0",
        "# s3cret",
        "|\n      s3cret",
        ">\n      s3\n      cret",
        "|+\n      s3cret",
        ": s3cret",
        "s3cret: ",
    ],
)
def test_a_text_that_yaml_takes_for_something_else_is_refused_with_the_remedy(
    setting: str, written: str
) -> None:
    found = problems(f"{setting} {written}\nlog: {{level: info}}\n")
    line = setting.count("\n") + 1
    assert any(problem.line in (line, line + 1) or f"line {line}" in problem.message for problem in found)
    assert any("quote" in problem.hint or problem.hint == "remove the tag" for problem in found)
    assert not any("s3" in problem.public or "cret" in problem.public for problem in found)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("s3cret", "s3cret"),
        ("s3cret  # reconnects to the broker", "s3cret"),
        ('""  # reconnects to the broker', ""),
        ("s3#cret", "s3#cret"),
        ('"#s3cret"', "#s3cret"),
        ("'&s3cret'", "&s3cret"),
        ("'s3 #cret'", "s3 #cret"),
        ("-s3cret", "-s3cret"),
        ("?s3cret", "?s3cret"),
        ("yes", "yes"),
        ("off", "off"),
        ("0123", "0123"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("0b11", "0b11"),
        ("1e3", "1e3"),
        ("+1", "+1"),
        ("190:20:30", "190:20:30"),
        (".inf", ".inf"),
        ("-.NaN", "-.NaN"),
        ("=", "="),
        ("<<", "<<"),
        ("'null'", "null"),
        ('"~"', "~"),
        ("2024-01-31", "2024-01-31"),
        (">-\n    s3cret", "s3cret"),
        ("", ""),
        ("\n  # a comment on a line of its own", ""),
        ("grüß gott", "grüß gott"),
        ("it\u2019s", "it\u2019s"),
    ],
)
def test_a_text_that_can_be_read_in_one_way_only_is_taken_as_written(written: str, value: str) -> None:
    config = parse(f"mqtt:\n  username: me\n  password: {written}\n", NAME, hostname="pi")
    assert str(config.mqtt.password) == value


@given(st.text("ab1#&*!|>'\"%@`-?:,[]{}~.=<_ ", min_size=1, max_size=8))
def test_a_text_without_quotes_is_taken_as_it_is_seen_or_refused(written: str) -> None:
    with suppress(InvalidConfigError):
        config = parse(f"mqtt:\n  username: me\n  password: {written}\n", NAME, hostname="pi")
        seen = re.split("(?:^| +)#+(?: |$)", written.strip(" "))[0]
        in_quotes = seen[:1] in ("'", '"')
        assert str(config.mqtt.password) == (yaml.safe_load(seen) if in_quotes else seen)


@pytest.mark.parametrize("written", ["yes", "0123", "12:30", "2024-01-31", ".inf", "null", "~", "=", "<<"])
def test_names_of_labels_are_taken_as_written(written: str) -> None:
    config = parse(f"labels:\n  map:\n    {written}: a\n", NAME, hostname="pi")
    assert config.labels.map == {written: "a"}


@pytest.mark.parametrize("setting", ["model: {path:", "mqtt: {password_file:"])
def test_no_path_is_no_word(setting: str) -> None:
    for written in ("~", "null"):
        text = f"{setting} {written}}}"
        if setting.startswith("model"):
            assert problems(text)[0].message == "must be set"
        else:
            assert parse(text, NAME, hostname="pi").mqtt.password_file is None


@pytest.mark.parametrize("hidden", ["\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("quote", ["'", '"', ""])
def test_a_line_break_that_cannot_be_seen_is_refused_where_yaml_takes_it_for_a_space(
    hidden: str, quote: str
) -> None:
    assert problems(f"mqtt:\n  username: me\n  password: {quote}s3{hidden}cret{quote}\n")[0].line >= 3


def test_every_misread_text_is_reported_at_once() -> None:
    text = "mqtt:\n  username: &me\n  password: #s3cret\n  client_id: !x y\nhomeassistant:\n  name: a #2\n"
    assert [(problem.line, problem.key) for problem in problems(text)] == [
        (2, "mqtt.username"),
        (3, "mqtt.password"),
        (4, "mqtt.client_id"),
        (6, "homeassistant.name"),
    ]


@pytest.mark.parametrize(
    "tag",
    ["bool", "int", "float", "null", "str", "binary", "timestamp", "set", "omap", "python/name:a.b"],
)
@pytest.mark.parametrize("setting", ["log:\n  level:", "model:\n  threads:", "publish:\n  image:", "mqtt:"])
def test_a_tag_is_an_error_of_the_file_whatever_it_says(tag: str, setting: str) -> None:
    (problem,) = problems(f"{setting} !!{tag} maybe\n")
    assert problem.line == setting.count("\n") + 1
    assert "tags" in problem.message


@pytest.mark.parametrize(
    "text",
    [
        "!!map {log: {level: info}}",
        "!x {log: {level: info}}",
        "&x {log: {level: info}}",
        "log: !!map {level: info}",
        "log: &x {level: info}",
        "log: {&x level: info}",
        "log: {!!str level: info}",
        "labels: {allow: !!seq [a]}",
        "labels: {allow: [!!str a]}",
        "labels: {map: !!omap [a: b]}",
        "labels: {map: {a: !!str b}}",
        "log: {<<: {level: info}}",
        "<<: {log: {level: info}}",
        "log: {[a]: b}",
        "log: {{a: b}: c}",
        "log: {level: info, level: debug}",
        "--- {log: {level: info}}\n---\n",
        "%YAML 9.9\n---\nlog: {level: loud}",
        "log: {level: " + "9" * 100_000 + "}",
        "memory: {budget_mb: " + "9" * 100_000 + "}",
        "source: {fps: " + "9" * 100_000 + "}",
        "source: {fps: 1e" + "9" * 1000 + "}",
        "source: {type: folder, folder: {path: /" + "x" * 5000 + "}}",
        "mqtt: {username: me, password_file: /" + "x" * 5000 + "}",
        "model: " + "{a: " * 40 + "1" + "}" * 40,
        "labels: {allow: [" + "a," * 100_000 + "]}",
        "? " * 5000,
    ],
    ids=lambda text: text[:30],
)
def test_a_hostile_file_is_refused_with_a_short_message(text: str) -> None:
    for problem in problems(text):
        assert len(problem.describe(NAME)) <= 500


@pytest.mark.parametrize(
    ("text", "key", "sign"),
    [
        ("mqtt: {host: \u201cbroker.home\u201d}", "mqtt.host", "U+201C"),
        ("mqtt: {host: \u201ebroker.home\u201c}", "mqtt.host", "U+201E"),
        ("mqtt: {host: broker\u200b.home}", "mqtt.host", "U+200B"),
        ("mqtt: {host: broker\u00a0}", "mqtt.host", "U+00A0"),
        ("mqtt: {host: \ufeffbroker}", "mqtt.host", "U+FEFF"),
        ("mqtt: {host: broker\u3002home}", "mqtt.host", "U+3002"),
        ("mqtt: {host: br\u043eker}", "mqtt.host", "alphabets"),
        ("mqtt: {username: me, password: \u2018s3cret\u2019}", "mqtt.password", "U+2018"),
        ("mqtt: {username: me, password: s3cret\u200b}", "mqtt.password", "U+200B"),
        ("mqtt: {username: me\u00a0}", "mqtt.username", "U+00A0"),
        ("mqtt: {base_topic: edge\u2215agent}", "mqtt.base_topic", "U+2215"),
        ("mqtt: {base_topic: edge\u2013agent}", "mqtt.base_topic", "U+2013"),
        ("mqtt: {websocket_path: \u201c/mqtt\u201d}", "mqtt.websocket_path", "U+201C"),
        ("device_id: p\u0456", "device_id", "letters, digits"),
        ("source: {v4l2: {device: /dev/video\uff10}}", "source.v4l2.device", "U+FF10"),
        ("source: {file: {path: /srv/a\u2800b}}", "source.file.path", "U+2800"),
        ("model: {path: \u201c/srv/model\u201d}", "model.path", "U+201C"),
        ("labels: {allow: [\u201ccat\u201d]}", "labels.allow[0]", "U+201C"),
        ("homeassistant: {name: a\u202eb}", "homeassistant.name", "U+202E"),
        ("log: {level: \u201cinfo\u201d}", "log.level", "must be one of"),
    ],
)
def test_lookalikes_and_invisible_characters_are_refused_with_their_line(
    text: str, key: str, sign: str
) -> None:
    (problem,) = problems(f"\n\n{text}\n")
    assert (problem.line, problem.key) == (3, key)
    assert sign in problem.message


@pytest.mark.parametrize("text", ["mqtt\uff1a\n  host: x\n", "mqtt:\n  host\uff1a x\n", "mqtt:\u00a0x\n"])
def test_a_colon_that_only_looks_like_one_is_refused(text: str) -> None:
    assert problems(text)


@pytest.mark.parametrize("name", ["👩‍👧 Küche", "دوربین می‌خواهم", "It\u2019s «the» porch", "门口", "P 🫪"])
def test_names_of_every_language_are_taken(name: str) -> None:
    assert parse(f"homeassistant: {{name: {name}}}", NAME, hostname="pi").homeassistant.name == name


SECRET = "Hunter2-Zq77"
SETTINGS = [
    ("log:\n  level: {}", 2),
    ("device_id: {}/x", 1),
    ("publish:\n  image: {}", 2),
    ("model:\n  threads: {}", 2),
    ("source:\n  fps: {}", 2),
    ("source:\n  type: {}", 2),
    ("source:\n  type: folder\n  folder:\n    path: {}", 4),
    ("source:\n  type: file\n  file:\n    path: {}", 4),
    ("source:\n  v4l2:\n    device: {}", 3),
    ("source:\n  rtsp:\n    url: {}", 3),
    ("source:\n  rtsp:\n    url: rtsp://a:{}#@b/c", 3),
    ("mqtt:\n  port: {}", 2),
    ("mqtt:\n  host: {}@broker", 2),
    ("mqtt:\n  host: mqtt://me:{}@broker", 2),
    ("mqtt:\n  base_topic: {}/#", 2),
    ("mqtt:\n  username: me\n  password_file: x/{}", 3),
    ("mqtt:\n  tls:\n    enabled: true\n    ca_file: {}", 4),
    ("mqtt:\n  {}: x", 2),
    ("mqtt:\n  password:{}: x", 2),
    ("mqtt: {{password:{}}}", 1),
    ("mqtt: {}", 1),
    ("{}: x", 1),
    ("labels:\n  map: {{{}: unknown}}", 2),
    ("labels:\n  map: {{{}: a}}\n  allow: [{}]", 3),
    ("labels:\n  map: {{{}: a, {}: b}}", 2),
    ("labels:\n  map: {{cat: [{}]}}", 2),
    ("labels:\n  allow: {}", 2),
    ("memory:\n  budget_mb: 128{}", 2),
    ("outbox:\n  path: ~/{}", 2),
    ("mqtt:\n  username: &{}\n  x", 2),
    ("mqtt:\n  username: *{}\n", 2),
    ("mqtt:\n  username: !{} x", 2),
    ("mqtt:\n  username: !{}!a x", 2),
    ("mqtt:\n  username: &{} x\n  client_id: &{} x", 2),
    ('mqtt:\n  username: "{}\\q"', 2),
    ("mqtt:\n  username: a: {}", 2),
]


@pytest.mark.parametrize(("text", "line"), SETTINGS, ids=[text for text, _ in SETTINGS])
def test_a_password_in_the_wrong_place_is_not_repeated(text: str, line: int) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        parse(text.replace("{}", SECRET).replace("{{", "{").replace("}}", "}"), NAME, hostname="pi")
    error = caught.value
    for part in (SECRET, "Hunter", "Zq77"):
        assert part not in str(error) + error.summary
    assert any(str(error).startswith(f"{NAME}:{near}") for near in (line, line + 1))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10), st.sampled_from(SETTINGS))
def test_no_refused_value_is_repeated_in_public(value: str, place: tuple[str, int]) -> None:
    secret = yaml.safe_dump(f"Zq{value}qZ", width=10**6, allow_unicode=True).splitlines()[0]
    said = ""
    try:
        parse(place[0].replace("{}", secret).replace("{{", "{").replace("}}", "}"), NAME, hostname="pi")
    except InvalidConfigError as error:
        said = str(error)
    assert "Zq" not in said
