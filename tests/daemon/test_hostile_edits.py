"""No edit and no request ends the agent: whatever stands in the file or the payload is taken or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edge_agent.config.loader
from edge_agent.commands.run import _usable
from edge_agent.config.changes import Changes
from edge_agent.config.last_good import LastGood
from edge_agent.config.live import Accepted, LiveConfig, Refused
from edge_agent.config.loader import parse
from edge_agent.config.problem import InvalidConfigError
from edge_agent.config.render import commented_yaml
from edge_agent.config.schema import Config
from edge_agent.daemon.agent import _veto
from edge_agent.daemon.reload import Reloader
from edge_agent.daemon.remote import RemoteCommands
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.mqtt.requests import Control
from edge_agent.sources import Source
from edge_agent.sources.factory import make_source
from tests.config.samples import LEAVES
from tests.daemon.assembled import Assembled

SECRET = "Hunter2-Zq77"
GOOD = "source: {type: picamera2, fps: 2}\nmemory: {budget_mb: 100}\n"

HOSTILE = [
    "!!bool maybe",
    "!!int x",
    "!!float x",
    "!!timestamp x",
    "!!null x",
    "!!binary x",
    "!!set {a, b}",
    "!!omap [a: b]",
    "!!python/object/apply:os.system [true]",
    "!<tag:yaml.org,2002:int> x",
    "!a b",
    "&a b",
    "*a",
    "{<<: {a: b}}",
    "[[[]]]",
    "{? [a] : b}",
    ".inf",
    ".nan",
    "-.inf",
    "0x10",
    "0b11",
    "0o7",
    "1:30:00",
    "1_000",
    "2024-02-30",
    "2024-01-31T25:00:00Z",
    "9" * 400,
    "-1e400",
    "=",
    "~",
    "rtsp://a:b#c@d/e",
    "rtsp://[::1",
    "http://a..b/",
    '"\\ud800"',
    '"\\0"',
    "/" + "x" * 5000,
    "/proc/self/mem",
    "/dev/zero",
    "\u202e",
    "“a”",
]
_HOSTILE = st.sampled_from(HOSTILE)
_WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_VALUES = _HOSTILE | _WORDS.map(json.dumps) | _WORDS | st.integers().map(str)
_NAMES = sorted({name for key in LEAVES for name in key.split(".")})
_SHIPPED = commented_yaml(Config())


def _setting(key: str, value: str) -> str:
    """A file with one setting: `a: {b: {c: value}}`."""
    names = key.split(".")
    return "".join(f"{name}: {{" for name in names[:-1]) + f"{names[-1]}: {value}" + "}" * (len(names) - 1)


@st.composite
def _several_settings(draw: st.DrawFn) -> str:
    """Settings of one kind of source or another, each with a value that is meant for any of them."""
    kind = draw(st.sampled_from(["picamera2", "v4l2", "rtsp", "http", "file", "folder"]))
    of_kind = sorted(key for key in LEAVES if key.startswith(f"source.{kind}."))
    key = draw(st.sampled_from(of_kind)).rpartition(".")[2]
    return f"source: {{type: {kind}, {kind}: {{{key}: {draw(_VALUES)}}}}}"


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    start, length = draw(st.integers(0, len(_SHIPPED))), draw(st.integers(0, 60))
    return _SHIPPED[:start] + draw(_VALUES) + _SHIPPED[start + length :]


_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _WORDS | st.dates() | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted({w for key in LEAVES for w in key.split(".")})), inner, max_size=4
        )
    ),
    max_leaves=15,
).map(lambda tree: yaml.dump(tree, allow_unicode=True))
_FILES = st.binary(max_size=200) | (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
    | st.builds(_setting, st.sampled_from(sorted(LEAVES)), _VALUES)
    | _several_settings()
    | _damaged()
    | _TREES
).map(lambda text: text.encode("utf-8", "replace"))


def _real_source(config: Any) -> Source:
    return make_source(config, lambda: 1 << 24)


class Agent(Assembled):
    """An agent that makes real sources, and vetoes as the real one does."""

    def reloader_of(self) -> Reloader:
        live = LiveConfig(self.file, self.config, _veto(self.loop, self.models.store, {}, _real_source))
        report = replace(self.report, live=live)
        return replace(self.reloader, live=live, report=report, make_source=_real_source)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path, {"source": {"type": "picamera2", "fps": 2}, "memory": {"budget_mb": 100}})
    made.classify()
    made.supervisor.round()
    yield made
    made.close()


def _in_use(key: str, value: str) -> str:
    """A file with one setting; where it is one of a kind of source, that kind is the one to use."""
    section, kind, *name = key.split(".")
    if section == "source" and name:
        return f"source: {{type: {kind}, {kind}: {{{name[0]}: {value}}}}}"
    return _setting(key, value)


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value[:20]))
def test_any_value_of_any_setting_is_taken_or_refused(agent: Agent, value: str) -> None:
    reloader = agent.reloader_of()
    for key in LEAVES:
        agent.file.write_text(_in_use(key, value) if "." in key else _setting(key, value), encoding="utf-8")
        reloader.reload_saved()
        assert "unexpectedly" not in str(reloader.live.error), key
        agent.heard()  # or the service manager's socket would be full some time


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(_FILES)
def test_any_edit_is_taken_or_refused(agent: Agent, content: bytes) -> None:
    agent.file.write_bytes(content)
    reloader = agent.reloader_of()
    reloader.reload_saved()
    reloader.keep_good()
    error = reloader.live.error
    assert "unexpectedly" not in str(
        error
    )  # refused for a reason that the file's owner can do something about
    agent.do_actions()
    agent.heard()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(_FILES, _FILES)
def test_any_start_is_with_the_file_or_with_the_last_good_one_or_an_error(
    tmp_path: Path, content: bytes, copy: bytes
) -> None:
    file, kept = tmp_path / "edge-agent.yaml", tmp_path / "copy.yaml"
    file.write_bytes(content)
    kept.write_bytes(GOOD.encode())
    config, refused = _usable(file, LastGood(kept, file))
    assert isinstance(config, Config)
    assert "unexpectedly" not in str(refused)
    kept.write_bytes(copy)
    last_good = LastGood(kept, file)
    last_good.load()
    if refused is None:
        assert _usable(file, last_good) == (config, None)
        return
    with suppress(InvalidConfigError):
        _usable(file, last_good)


def _broken(*_: object) -> Any:
    raise KeyError(f"of {SECRET}")


def test_a_defect_in_reading_is_a_refusal_and_says_nothing_of_the_file(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    for live in (
        LiveConfig(agent.file, agent.config, read=_broken),
        LiveConfig(agent.file, agent.config, veto=_broken),
    ):
        caplog.clear()
        result = live.reload()
        assert isinstance(result, Refused)
        assert live.config is agent.config
        assert "has failed unexpectedly" in result.error.summary
        assert "KeyError" in caplog.text
        assert "_broken" in caplog.text
        assert SECRET not in caplog.text + str(result.error)


@pytest.mark.parametrize("part", ["make_source", "link"])
def test_a_change_that_cannot_be_applied_leaves_what_was(
    agent: Agent, part: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = agent.live.config
    if part == "link":
        monkeypatch.setattr(agent.link, "reconnect", _broken)
    reloader = replace(agent.reloader, make_source=_broken) if part == "make_source" else agent.reloader
    agent.edit({"source": {"type": "v4l2"}, "mqtt": {"host": "elsewhere"}, "memory": {"budget_mb": 200}})
    reloader.reload_saved()
    assert agent.live.config is before
    assert agent.guard.monitor.policy.budget_mb == 100
    assert "has failed unexpectedly" in agent.link.infos[-1].config_error
    assert SECRET not in caplog.text


def test_a_defect_in_reading_does_not_keep_the_last_good_one_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file, kept = tmp_path / "edge-agent.yaml", tmp_path / "copy.yaml"
    file.write_text("device_id: new\n")
    kept.write_text("device_id: good\n")
    monkeypatch.setattr(edge_agent.config.loader, "load", _broken)
    config, refused = _usable(file, LastGood(kept, file))
    assert config.device_id == "good"
    assert "unexpectedly" in str(refused)
    assert SECRET not in caplog.text
    with pytest.raises(InvalidConfigError):
        _usable(file, None)


def test_a_defect_in_reading_the_last_good_one_is_as_if_there_were_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "edge-agent.yaml"
    file.write_text("device_id: pi\n")
    monkeypatch.setattr("edge_agent.config.last_good.parse", _broken)
    last_good = LastGood(file, file)
    assert last_good.load() is None
    last_good.keep(parse("device_id: pi", "x"))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
_SETTINGS = st.dictionaries(
    st.sampled_from([*sorted(LEAVES), "x"]), _JSON | st.floats() | st.integers(-(10**400), 10**400)
)
_PAYLOADS = (
    st.binary(max_size=300)
    | _JSON.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {}, optional={"transaction": _JSON, "paused": _JSON, "settings": _SETTINGS | _JSON}
    ).map(lambda value: json.dumps(value).encode())
    | st.sampled_from(
        [b"[" * 4000, b'{"settings":{"source.fps":1e999}}', b'{"transaction":' + b"9" * 4000 + b"}"]
    )
)
_VERBS = st.sampled_from(
    ["pause", "resume", "snapshot", "reload", "config/get", "config/set", "restart", ""]
) | st.text(max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(_VERBS, _PAYLOADS, st.text(max_size=30), st.none() | st.binary(max_size=10), st.booleans())
def test_any_request_is_answered_or_ignored(
    agent: Agent, verb: str, payload: bytes, answer_to: str, correlation: bytes | None, retained: bool
) -> None:
    topics = Topics("edge_agent", "pi")
    answers: list[Message] = []
    agent.edit({"source": {"type": "picamera2", "fps": 2}})
    reloader = agent.reloader_of()
    commands = RemoteCommands(
        reloader.live,
        agent.loop,
        agent.capture,
        agent.watcher,
        reloader,
        agent.restart,
        agent.report.health_due,
        agent.teaching,
        agent.models,
    )
    control = Control(topics, commands, answers.append, agent.clock, max_per_minute=1000)
    control.receive(Incoming(topics.request(verb), payload, retained, answer_to, correlation))
    control.work()
    assert bool(answers) is not retained
    for answer in answers:
        assert answer.topic == topics.image or json.loads(answer.payload)["status"] in ("ok", "error")
    agent.do_actions()
    agent.heard()


def test_accepted_edits_are_among_those_generated(agent: Agent) -> None:
    """What the properties above generate is not refused for being YAML alone."""

    def never(config: Config, changes: Changes) -> None: ...

    agent.file.write_text(_setting("source.fps", "3"))
    assert isinstance(LiveConfig(agent.file, agent.config, never).reload(), Accepted)
