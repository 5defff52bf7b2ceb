"""The form's side of the configuration: what it offers, shows and saves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.loader import load
from edge_agent.config.schema import Config, WebConfig
from edge_agent.system.secret import MASK
from edge_agent.web.settings import masked_text
from tests.web.helpers import Answer, Client, FakeAgent, serving
from tests.web.test_api import hold_to_document

FILE = """\
# The porch.
source:
  type: folder
  fps: 2.0  # two are enough
  folder: {path: .}
mqtt:
  username: pi
  password: raspberry  # not strawberry
"""
PATH = "/api/v1/settings"


@dataclass(frozen=True)
class Editor:
    """A client that may edit the file."""

    client: Client
    file: Path

    def list(self) -> Any:
        answer = self.client.ask(PATH)
        hold_to_document(answer, PATH)
        return answer.json

    def post(self, settings: Any, path: str = "/preview", tag: str | None = None) -> Answer:
        body = {"settings": settings, "tag": self.list()["tag"] if tag is None else tag}
        answer = self.client.ask(
            PATH + path, "POST", json.dumps(body).encode(), content_type="application/json"
        )
        hold_to_document(answer, PATH + path, "post")
        return answer


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    file = tmp_path / "edge-agent.yaml"
    file.write_text(FILE)
    agent = FakeAgent(config_file=file, settings=Config(device_id="porch", web=WebConfig(allow_edit=True)))
    with serving(agent, tmp_path / "state") as client:
        yield Editor(client, file)


def test_it_offers_each_setting_with_what_it_takes(editor: Editor) -> None:
    settings = {setting["key"]: setting for setting in editor.list()["settings"]}
    fps = settings["source.fps"]
    assert (fps["kind"], fps["value"], fps["at_most"], fps["apply"]) == (
        "number",
        2.0,
        120,
        "reopens the camera",
    )
    assert settings["source.type"]["choices"][0] == "picamera2"
    assert settings["mqtt.password"]["value"] == MASK
    assert not any(key.startswith("web.") for key in settings)


def test_an_edit_is_shown_before_it_is_saved(editor: Editor) -> None:
    answer = editor.post({"source.fps": 5, "stabilizer.window": 7}).json
    assert [line for line in answer["diff"] if line.startswith(("+", "-"))] == [
        "-  fps: 2.0  # two are enough",
        "+  fps: 5  # two are enough",
        "+stabilizer:",
        "+  window: 7",
    ]
    assert {change["key"] for change in answer["changes"]} == {"source.fps", "stabilizer.window"}
    assert editor.file.read_text() == FILE


def test_saving_keeps_comments_and_a_copy(editor: Editor) -> None:
    answer = editor.post({"source.fps": 5}, "").json
    assert editor.file.read_text() == FILE.replace("fps: 2.0", "fps: 5")
    assert load(editor.file).source.fps == 5
    assert (editor.file.parent / answer["backup"]).read_text() == FILE


PAIRS = """\
labels:
  map:  # what we call them
    tabby: cat  # the neighbour's
    # rarely seen
    Egyptian cat: cat
    pug: dog  # ours
  thresholds: {cat: 0.8}
regions:
  gate:  # the front one
    box: [0.1, 0.2, 0.5, 0.5]  # measured
    priority: 2
  bin: {polygon: [0.7, 0.7, 1, 0.7, 1, 1]}  # behind it
"""


def test_pairs_and_regions_are_offered_with_what_each_has(editor: Editor) -> None:
    editor.file.write_text(PAIRS)
    settings = {setting["key"]: setting for setting in editor.list()["settings"]}
    assert (settings["labels.map"]["kind"], settings["labels.thresholds"]["kind"]) == (
        "text pairs",
        "number pairs",
    )
    regions = settings["regions"]
    assert regions["value"]["gate"]["box"] == [0.1, 0.2, 0.5, 0.5]
    assert {"box", "priority", "polygon"} <= {member["key"] for member in regions["members"]}


def test_pairs_that_stay_keep_their_lines_and_comments(editor: Editor) -> None:
    editor.file.write_text(PAIRS)
    pairs = {"tabby": "cat", "Egyptian cat": "puss", "no": "yes"}
    regions = {
        "gate": {"box": [0.1, 0.2, 0.5, 0.6], "priority": 2},
        "bin": {"polygon": [0.7, 0.7, 1, 0.7, 1, 1]},
        "door": {"box": [0, 0, 0.5, 0.5]},
    }
    answer = editor.post({"labels.map": pairs, "regions": regions}, "")
    assert [line for line in answer.json["diff"] if line.startswith(("+", "-"))] == [
        "-    Egyptian cat: cat",
        "-    pug: dog  # ours",
        "+    Egyptian cat: puss",
        '+    "no": "yes"',
        "-    box: [0.1, 0.2, 0.5, 0.5]  # measured",
        "+    box: [0.1, 0.2, 0.5, 0.6]  # measured",
        "+  door: {box: [0, 0, 0.5, 0.5]}",
    ]
    assert dict(load(editor.file).labels.map) == pairs


def test_a_wrong_pair_is_said_with_its_line(editor: Editor) -> None:
    editor.file.write_text(PAIRS)
    problems = editor.post({"labels.thresholds": {"cat": 7}, "regions": {"Gate": {}}}).json["error"][
        "problems"
    ]
    assert [problem["line"] for problem in problems] == [7, 9]


def test_what_is_wrong_is_said_with_its_line(editor: Editor) -> None:
    answer = editor.post({"source.fps": 500, "stabilizer.window": 0})
    assert (answer.status, answer.code) == (422, "invalid")
    problems = answer.json["error"]["problems"]
    assert [(problem["key"], problem["line"]) for problem in problems] == [
        ("source.fps", 4),
        ("stabilizer.window", 10),
    ]
    assert "0 to 120" in problems[0]["message"]
    assert editor.file.read_text() == FILE


@pytest.mark.parametrize(
    "settings",
    [
        {},
        [],
        "source.fps",
        {"source.zzz": 1},
        {"source": {"fps": 1}},
        {"source.fps": None},
        {"web.token": "auto"},
        {"web.allow_edit": False},
        {"labels.allow": [[[["deep"]]]]},
    ],
)
def test_what_is_no_edit_is_refused(editor: Editor, settings: Any) -> None:
    assert editor.post(settings, "").status in (400, 422)
    assert editor.file.read_text() == FILE


def test_an_edit_of_another_text_is_refused(editor: Editor) -> None:
    tag = editor.list()["tag"]
    editor.file.write_text(FILE + "# changed elsewhere\n")
    assert editor.post({"source.fps": 5}, "", tag).code == "changed"


def test_a_secret_can_be_changed_and_is_never_shown(editor: Editor) -> None:
    answer = editor.post({"mqtt.password": "blueberry"})
    assert [line for line in answer.json["diff"] if line.startswith("+")] == []
    assert answer.json["changes"][0]["key"] == "mqtt.password"
    saved = editor.post({"mqtt.password": "blueberry"}, "")
    said = answer.body + saved.body + editor.client.ask(PATH).body
    assert not any(secret in said for secret in (b"blueberry", b"raspberry", b"strawberry"))
    assert load(editor.file).mqtt.password == "blueberry"


def test_a_file_with_an_error_says_where(editor: Editor) -> None:
    editor.file.write_text("source: {fps: fast}\nmqtt: {password: raspberry, zzz: 1}\n")
    answer = editor.client.ask(PATH)
    assert [problem["line"] for problem in answer.json["error"]["problems"]] == [1, 2, 2]
    assert b"raspberry" not in answer.body


def test_without_leave_nothing_is_edited(tmp_path: Path) -> None:
    with serving(FakeAgent(), tmp_path) as client:
        for method, path in (("GET", ""), ("POST", ""), ("POST", "/preview")):
            answer = client.ask(PATH + path, method, b"{}" if method == "POST" else None)
            assert (answer.status, answer.code) == (403, "not_allowed")


_SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=6).map(
    "hidden{}".format
)


@given(_SECRETS, st.sampled_from(("{0}  # {1}", "{1}", "  {1}   ", "{1} # {1}")), st.booleans())
def test_no_way_of_writing_a_secret_lets_it_be_seen(secret: str, written: str, in_flow: bool) -> None:
    quoted = json.dumps(secret, ensure_ascii=False)
    value = written.format("'old'", quoted)
    line = (
        f"mqtt: {{username: u, password: {quoted}, port: 1}}" if in_flow else f"mqtt:\n  password: {value}\n"
    )
    assert "hidden" not in masked_text(f"{line}\nsource:\n  rtsp: {{url: {quoted}}}\n", "file")
