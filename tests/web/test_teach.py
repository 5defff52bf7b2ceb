"""Lessons on the page: what reaches the agent, and what does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.config.schema import Config, WebConfig
from edge_agent.mqtt.requests import LessonRequest
from tests.web.helpers import Answer, Client, FakeAgent, serving
from tests.web.test_api import hold_to_document


@pytest.fixture
def teacher(agent: FakeAgent, tmp_path: Path) -> Iterator[Client]:
    agent.settings = Config(device_id="porch", web=WebConfig(allow_teach=True))
    with serving(agent, tmp_path) as client:
        yield client


def teach(client: Client, verb: str, lesson: Any) -> Answer:
    path = f"/api/v1/teach/{verb}"
    answer = client.ask(path, "POST", json.dumps(lesson).encode(), content_type="application/json")
    hold_to_document(answer, path, "post")
    return answer


def test_a_lesson_reaches_the_agent(teacher: Client, agent: FakeAgent) -> None:
    assert teach(teacher, "add", {"label": "open", "question": 3, "region": "gate"}).json["labels"] == {
        "open": 1
    }
    teach(teacher, "undo", {})
    teach(teacher, "remove", {"example": "1f2e"})
    assert agent.taught == [
        LessonRequest("add", "gate", "open", "", 3),
        LessonRequest("undo"),
        LessonRequest("remove", "", "", "1f2e"),
    ]


def test_what_the_agent_refuses_is_said(teacher: Client) -> None:
    answer = teach(teacher, "add", {"label": "refused"})
    assert (answer.status, answer.json["error"]["message"]) == (422, "there is no such label")


@pytest.mark.parametrize(
    "lesson",
    [
        {"label": 1},
        {"label": "x" * 200},
        {"question": "3"},
        {"question": 1.5},
        {"question": 1e999},
        [],
        "open",
    ],
)
def test_what_is_no_lesson_is_refused(teacher: Client, agent: FakeAgent, lesson: Any) -> None:
    assert teach(teacher, "add", lesson).status == 400
    assert agent.taught == []


def test_the_picture_of_a_question_is_shown(teacher: Client) -> None:
    assert teacher.ask("/api/v1/question.jpg?question=3").body == b"small"
    assert teacher.ask("/api/v1/question.jpg?question=4").status == 404


def test_without_leave_nothing_is_taught(client: Client, agent: FakeAgent) -> None:
    for verb in ("add", "undo", "remove", "report", "revert", "questions"):
        assert teach(client, verb, {}).code == "not_allowed"
    assert client.ask("/api/v1/question.jpg?question=3").status == 403
    assert agent.taught == []


def test_a_form_of_another_site_cannot_teach(teacher: Client, agent: FakeAgent) -> None:
    answer = teacher.ask("/api/v1/teach/undo", "POST", b"{}", content_type="text/plain")
    assert answer.status == 415
    assert agent.taught == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_NAMES = st.sampled_from(("region", "label", "example", "question", "other"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lesson=st.dictionaries(_NAMES, _JSON))
def test_no_lesson_is_a_defect(teacher: Client, lesson: dict[str, Any]) -> None:
    assert teach(teacher, "add", lesson).status in (200, 400, 422)
