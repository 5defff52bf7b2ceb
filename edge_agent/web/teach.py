"""Teaching on the page: naming the present frame or one that waits, undoing, and how good the head is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from edge_agent.errors import TeachError
from edge_agent.mqtt.requests import LessonRequest, MalformedRequestError, TeachVerb, lesson_of
from edge_agent.web.agent_view import AgentView
from edge_agent.web.application import Route, whole_number
from edge_agent.web.exchange import JPEG, RefusedError, Request, Response, json_body, json_response

_MOST_BYTES = 4096
_LARGEST_NUMBER = (1 << 31) - 1


class Teach:
    """Hands lessons to the agent, as requests over MQTT do."""

    def __init__(self, agent: AgentView) -> None:
        self._agent = agent

    def routes(self) -> Iterator[Route]:
        """A path for each verb, and the pictures of the frames that wait for a name."""
        for verb in get_args(TeachVerb):
            yield Route("POST", f"/api/v1/teach/{verb}", self._handler(verb), _MOST_BYTES)
        yield Route("GET", "/api/v1/question.jpg", self._picture)

    def _handler(self, verb: TeachVerb) -> Callable[[Request, Mapping[str, str]], Response]:
        def handle(request: Request, _: Mapping[str, str]) -> Response:
            self._refuse_unless_allowed()
            try:
                done = self._agent.teach(_lesson(verb, request))
            except TeachError as error:
                raise RefusedError(422, "lesson", str(error)) from None
            return json_response(done)

        return handle

    def _picture(self, _: Request, query: Mapping[str, str]) -> Response:
        self._refuse_unless_allowed()
        number = whole_number(query, "question", 0, _LARGEST_NUMBER)
        jpeg = self._agent.question_picture(query.get("region", ""), number)
        if not jpeg:
            raise RefusedError(404, "not_found", "there is no picture of that question")
        return Response(jpeg, JPEG)

    def _refuse_unless_allowed(self) -> None:
        if not self._agent.config().web.allow_teach:
            raise RefusedError(403, "not_allowed", "web.allow_teach is false")


def _lesson(verb: TeachVerb, request: Request) -> LessonRequest:
    try:
        return lesson_of(f"teach/{verb}", json_body(request))
    except (MalformedRequestError, OverflowError) as error:
        raise RefusedError(400, "malformed", str(error)) from None
