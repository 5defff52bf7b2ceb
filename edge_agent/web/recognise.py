"""Tries a picture that somebody sends: decodes it where memory allows, and says what the network sees."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from edge_agent.mqtt.contract.payloads import plain
from edge_agent.sources.picture import decode_picture
from edge_agent.sources.picture_header import PictureError
from edge_agent.web.agent_view import AgentView, BusyError
from edge_agent.web.exchange import RefusedError, Request, Response, json_response

MOST_PICTURE_BYTES = 8 << 20

_NAME = "that was sent"
_MOST_WAITING = 2
_WAIT_S = 10.0


class Recogniser:
    """Takes one picture at a time, and lets few wait. Nothing of a picture is kept."""

    def __init__(self, agent: AgentView) -> None:
        self._agent = agent
        self._one_at_a_time = threading.Lock()
        self._places = threading.Semaphore(1 + _MOST_WAITING)

    def answer(self, request: Request, _: Mapping[str, str]) -> Response:
        """The most probable labels of the picture in the body. Raises RefusedError."""
        if not request.length:
            raise RefusedError(400, "malformed", "send a picture as the body: JPEG, PNG, WebP or BMP")
        if not self._places.acquire(blocking=False):
            raise BusyError("earlier pictures are still being looked at")
        try:
            return self._in_turn(request)
        finally:
            self._places.release()

    def _in_turn(self, request: Request) -> Response:
        if not self._one_at_a_time.acquire(timeout=_WAIT_S):
            raise BusyError("earlier pictures are still being looked at")
        try:
            pixels = decode_picture(request.body.read(request.length), _NAME, self._agent.room_bytes())
            found = self._agent.classify(pixels)
        except PictureError as error:
            is_large = error.trouble == "too large"
            raise RefusedError(507 if is_large else 422, "picture", str(error)) from None
        finally:
            self._one_at_a_time.release()
        prediction = found.prediction
        height, width = pixels.shape[:2]
        return json_response(
            {
                "top": plain(prediction.top),
                "heads": [plain(head) for head in found.heads],
                "picture": {"width": width, "height": height},
                "latency_ms": {
                    "preprocess": round(prediction.preprocess_ms, 1),
                    "infer": round(prediction.infer_ms, 1),
                },
            }
        )
