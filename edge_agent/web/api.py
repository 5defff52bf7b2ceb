"""The API, version 1: state, health, information, configuration, events and history as JSON, and pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from edge_agent.mqtt.contract.payloads import plain
from edge_agent.web.agent_view import AgentView
from edge_agent.web.application import Route, whole_number
from edge_agent.web.event_ring import Event
from edge_agent.web.exchange import JPEG, JSON, RefusedError, Request, Response, json_response
from edge_agent.web.metrics import CONTENT_TYPE, exposition
from edge_agent.web.recognise import MOST_PICTURE_BYTES, Recogniser

_BASE = "/api/v1"
_LARGEST_SEQ = (1 << 63) - 1
_LONGEST_WAIT_S = 25
_NEXT_MS = 1000
"""After so long a client asks again whom no thread could wait for."""
_AFTER_EVENTS_MS = 500
"""After so long a client asks again who was told of events; where each frame brings one, of several."""
_STALE_S = 120.0
_WIDTHS = (160, 320, 480, 640)
_T = TypeVar("_T")
_OPENAPI = Path(__file__).parent / "static" / "openapi.json"


class Api:
    """Answers from snapshots of the agent."""

    def __init__(self, agent: AgentView) -> None:
        self._agent = agent
        self._recogniser = Recogniser(agent)

    def routes(self) -> Iterator[Route]:
        """Everything that can be asked."""
        yield Route("GET", f"{_BASE}/state", self._state)
        yield Route("GET", f"{_BASE}/states", self._states)
        yield Route("GET", f"{_BASE}/health", self._health)
        yield Route("GET", f"{_BASE}/info", self._info)
        yield Route("GET", f"{_BASE}/config", self._config)
        yield Route("GET", f"{_BASE}/events", self._events)
        yield Route("GET", f"{_BASE}/history", self._history)
        yield Route("GET", f"{_BASE}/frame.jpg", self._frame)
        yield Route("GET", f"{_BASE}/event.jpg", self._event_picture)
        yield Route("GET", f"{_BASE}/openapi.json", self._openapi)
        yield Route("POST", f"{_BASE}/classify", self._recogniser.answer, MOST_PICTURE_BYTES)
        yield Route("GET", "/metrics", self._metrics)
        yield Route("GET", "/healthz", self._healthz)

    def _state(self, _: Request, query: Mapping[str, str]) -> Response:
        states = self._agent.states()
        wanted = query.get("region")
        found = next((state for state in states if wanted in (None, state.region)), None)
        if found is None:
            if states:
                raise RefusedError(404, "not_found", "no region of that name is watched")
            raise RefusedError(503, "starting", "no frame has been classified yet", retry_after_s=1)
        return json_response(plain(found))

    def _states(self, _: Request, __: Mapping[str, str]) -> Response:
        boxes = {name: list(box) for name, box in self._agent.regions().items()}
        states = [plain(state) for state in self._agent.states()]
        window, age_s = list(self._agent.window()), self._agent.last_frame_s()
        answer = {"states": states, "regions": boxes, "window": window}
        return json_response({**answer, "age_s": round(age_s, 1) if math.isfinite(age_s) else None})

    def _health(self, _: Request, __: Mapping[str, str]) -> Response:
        return json_response(plain(_there(self._agent.health())))

    def _info(self, _: Request, __: Mapping[str, str]) -> Response:
        return json_response(plain(_there(self._agent.info())))

    def _config(self, _: Request, __: Mapping[str, str]) -> Response:
        return json_response({"config": plain(self._agent.config())})

    def _events(self, _: Request, query: Mapping[str, str]) -> Response:
        since = whole_number(query, "since", 0, _LARGEST_SEQ)
        wait_s = whole_number(query, "wait", 0, _LONGEST_WAIT_S)
        found = self._agent.events.since(since, wait_s)
        return json_response(
            {
                "events": [_event(event) for event in found.events],
                "newest": found.newest,
                "has_gap": found.has_gap,
                "next_ms": _AFTER_EVENTS_MS if found.events else _NEXT_MS,
            }
        )

    def _history(self, _: Request, __: Mapping[str, str]) -> Response:
        return json_response({"samples": [plain(sample) for sample in self._agent.history.samples()]})

    def _frame(self, request: Request, query: Mapping[str, str]) -> Response:
        width = whole_number(query, "width", _WIDTHS[-1], _WIDTHS[-1])
        if width not in _WIDTHS:
            raise RefusedError(400, "malformed", f"width must be one of {', '.join(map(str, _WIDTHS))}")
        picture = self._agent.picture(width)
        if picture is None:
            raise RefusedError(503, "starting", "no frame has been classified yet", retry_after_s=1)
        tag = f'"{picture.frame_id}-{width}"'
        headers = (("ETag", tag), ("Cache-Control", "no-cache"))
        if request.head.header("if-none-match") == tag:
            return Response(b"", JPEG, 304, headers)
        return Response(picture.jpeg, JPEG, 200, headers)

    def _event_picture(self, _: Request, query: Mapping[str, str]) -> Response:
        jpeg = self._agent.events.thumbnail(whole_number(query, "seq", 0, _LARGEST_SEQ))
        if not jpeg:
            raise RefusedError(404, "not_found", "there is no picture of that event")
        return Response(jpeg, JPEG, 200, (("Cache-Control", "private, max-age=86400"),))

    def _openapi(self, _: Request, __: Mapping[str, str]) -> Response:
        return Response(_OPENAPI.read_bytes(), JSON)

    def _metrics(self, _: Request, __: Mapping[str, str]) -> Response:
        text = exposition(self._agent.states(), _there(self._agent.health()), _there(self._agent.info()))
        return Response(text.encode(), CONTENT_TYPE)

    def _healthz(self, _: Request, __: Mapping[str, str]) -> Response:
        health = self._agent.health()
        is_paused = health is not None and health.camera.state in ("paused", "ended")
        if is_paused or self._agent.last_frame_s() < _STALE_S:
            return json_response({"status": "ok"})
        age_s = self._agent.last_frame_s()
        when = "yet" if math.isinf(age_s) else f"for {age_s:.0f} s"
        raise RefusedError(503, "no_frames", f"no frame has been classified {when}", retry_after_s=5)


def _event(event: Event) -> dict[str, object]:
    return {**plain(event.changed), "has_picture": event.has_picture}


def _there(value: _T | None) -> _T:
    if value is None:
        raise RefusedError(503, "starting", "the agent still starts", retry_after_s=1)
    return value
