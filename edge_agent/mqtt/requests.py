"""Requests over MQTT: `request/<verb>` is answered on `response/<verb>`, or where an MQTT 5 request says."""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import queue
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Literal, Protocol, cast, get_args

from edge_agent.config.schema import Config
from edge_agent.errors import EdgeAgentError, ModelError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.source import ModelSource, model_source
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.contract.payloads import SCHEMA, dump, plain
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.system.clock import Clock
from edge_agent.system.log import say, say_defect
from edge_agent.system.token_bucket import TokenBucket

ErrorCode = Literal["malformed", "unknown_verb", "too_many_requests", "failed"]

_MAX_PAYLOAD_BYTES = 4096
_MAX_HEAD_PAYLOAD_BYTES = 192 * 1024  # the verb that brings a head; no packet above 256 kB is received
_MAX_TRANSACTION = 128
_MAX_TOPIC = 512
_LONGEST_TEXT = 128
_MOST_WAITING = 16
_LARGEST = 1e15  # of a number in a request; NaN is not below it either
_CONTRACT = {
    "request",
    "region",
    "state",
    "event",
    "availability",
    "health",
    "info",
    "prediction",
    "image",
    "event_image",
    "wanted",
}
"""No answer goes to a topic with such a level: it may be a device's own, or another's request."""

_UNEXPECTED = "it has failed unexpectedly: the agent's log says where; please report this"
_VERB = re.compile(r"[a-z0-9_-]{1,32}(/[a-z0-9_-]{1,32})?")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The result of reading the configuration again."""

    changed: tuple[str, ...]
    """The settings that differ, dotted."""
    restarts: bool
    """Whether the agent restarts itself for them."""


class Commands(Protocol):
    """What the agent can be asked to do; each may raise EdgeAgentError, whose message is the answer.

    Any other error is answered too, but without its text, which may hold a secret.
    """

    def pause(self) -> None:
        """Stop taking frames."""
        ...

    def resume(self) -> None: ...

    def snapshot(self) -> bytes:
        """The newest frame, as JPEG."""
        ...

    def reload(self) -> Reloaded:
        """Read the configuration file."""
        ...

    def restart(self) -> None:
        """End, to be started again by the service manager."""
        ...

    def config(self) -> Config:
        """The configuration in force."""
        ...

    def override(self, settings: Mapping[str, float]) -> Reloaded:
        """Change these settings, by their dotted names, until the file is read again."""
        ...

    def teach(self, lesson: LessonRequest) -> dict[str, Any]:
        """Teach a label, or say what was taught; returns the answer's data, in JSON's own types."""
        ...

    def take_head(self, head: HeadRequest) -> dict[str, Any]:
        """Answer with a head that was taught elsewhere; returns the answer's data, in JSON's own types."""
        ...

    def install_model(self, source: ModelSource) -> dict[str, Any]:
        """Begin to exchange the model for one that is downloaded; returns the answer's data."""
        ...

    def patch(self, settings: Mapping[str, Any]) -> Reloaded:
        """Write these settings, by their dotted names, into the configuration file, all or none."""
        ...


@dataclass(frozen=True, slots=True)
class HeadRequest:
    """A head that is to answer for a view."""

    region: str = ""
    """Empty for the whole picture."""
    content: bytes = b""
    """Its file; empty for none."""


TeachVerb = Literal["add", "undo", "remove", "report", "revert", "questions"]


@dataclass(frozen=True, slots=True)
class LessonRequest:
    """What is asked of teaching; texts are as they came, each at most 128 characters."""

    verb: TeachVerb
    region: str = ""
    """Empty for the whole picture."""
    label: str = ""
    example: str = ""
    """The beginning of the key of one."""
    question: int | None = None
    """The number of a frame that waits for its name; None for the present frame."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that can be carried out."""

    verb: str
    topic: str
    """Where the answer goes."""
    correlation: bytes | None
    transaction: str | int | None = None
    paused: bool = True
    """For `pause`: what to do; false resumes, so that one topic serves a switch."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """For `config/set` and `config/patch`: the new values, by the settings' dotted names."""
    lesson: LessonRequest | None = None
    """For `teach/...`, but for `teach/head`."""
    head: HeadRequest = HeadRequest()
    """For `teach/head`."""
    model: ModelSource | None = None
    """For `model/install`."""


class MalformedRequestError(Exception):
    """The payload is no request."""


class Control:
    """Takes requests on the publisher's thread, and carries them out on the one that calls `work`.

    Retained requests are ignored: nobody waits for their answer, and they would come again with every
    connection. Beyond the rate limit only the first refused request is answered.
    """

    def __init__(
        self,
        topics: Topics,
        commands: Commands,
        publish: Callable[[Message], None],
        clock: Clock,
        *,
        max_per_minute: int,
        discovery_prefix: str = "homeassistant",
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """`wake` is called when there is work to do. Nothing is answered below `discovery_prefix`."""
        self._topics = topics
        self._commands = commands
        self._publish = publish
        self._clock = clock
        self._discovery_prefix = discovery_prefix
        self._wake = wake
        self._bucket = TokenBucket(max_per_minute, clock)
        self._has_said_too_many = False
        self._waiting: queue.Queue[Request] = queue.Queue(_MOST_WAITING)
        self._actions: dict[str, Callable[[Request], dict[str, Any]]] = {
            "pause": self._pause,
            "resume": self._resume,
            "snapshot": self._snapshot,
            "reload": self._reload,
            "config/get": self._config,
            "config/set": self._override,
            "config/patch": self._patch,
            "restart": self._restart,
            "teach/head": self._head,
            "model/install": self._install,
            **{f"teach/{verb}": self._teach for verb in get_args(TeachVerb)},
        }

    def limit(self, max_per_minute: int) -> None:
        """Change the rate limit."""
        self._bucket = TokenBucket(max_per_minute, self._clock)

    def receive(self, message: Incoming) -> None:
        """Queue a message of `request/#`, or answer why not."""
        if message.retained:
            return
        verb = message.topic.removeprefix(self._topics.request(""))
        request = Request(verb, self._answer_topic(verb, message), message.correlation)
        if not self._bucket.take():
            if not self._has_said_too_many:
                self._has_said_too_many = True
                self._refuse(request, "too_many_requests", "more requests than control.max_per_minute allows")
            return
        self._has_said_too_many = False
        try:
            request = with_payload(request, message.payload)
        except MalformedRequestError as error:
            self._refuse(request, "malformed", str(error))
            return
        if verb not in self._actions:
            self._refuse(request, "unknown_verb", f"the verbs are {', '.join(self._actions)}")
            return
        self._queue(request)

    def work(self) -> None:
        """Carry out what waits, and answer."""
        while True:
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                return
            self._carry_out(request)

    def _queue(self, request: Request) -> None:
        try:
            self._waiting.put_nowait(request)
        except queue.Full:
            self._refuse(request, "too_many_requests", "earlier requests are still being worked on")
        else:
            self._wake()

    def _carry_out(self, request: Request) -> None:
        say(_LOG, logging.INFO, f"request {request.verb}", transaction=request.transaction)
        try:
            data = self._actions[request.verb](request)
        except EdgeAgentError as error:
            self._refuse(request, "failed", str(error))
        except Exception as error:
            say_defect(_LOG, f"the request {request.verb} has failed unexpectedly", error)
            self._refuse(request, "failed", _UNEXPECTED)
        else:
            self._answer(request, {"status": "ok", "data": data})

    def _refuse(self, request: Request, code: ErrorCode, message: str) -> None:
        say(_LOG, logging.WARNING, f"request refused: {message}", verb=request.verb[:64], code=code)
        self._answer(request, {"status": "error", "error": {"code": code, "message": message}})

    def _answer(self, request: Request, body: dict[str, Any]) -> None:
        payload = {"schema": SCHEMA, "transaction": request.transaction} | body
        self._publish(Message(request.topic, dump(payload), correlation=request.correlation))

    def _answer_topic(self, verb: str, message: Incoming) -> str:
        """The requester's choice, if it is a place for answers."""
        if self._is_for_answers(message.response_topic):
            return message.response_topic
        return self._topics.response(verb if _VERB.fullmatch(verb) else "error")

    def _is_for_answers(self, topic: str) -> bool:
        """Whether an answer there could be taken neither for a request, nor for what a device publishes."""
        is_topic = 0 < len(topic) <= _MAX_TOPIC and topic.isprintable() and not set(topic) & set("+#")
        if not is_topic or topic.startswith(("$", f"{self._discovery_prefix}/")):
            return False
        if topic.startswith(self._topics.response("")):
            return True
        levels = topic.split("/")
        of_device = topic.removeprefix(f"{self._topics.base}/").split("/")
        is_among_devices = topic.startswith(f"{self._topics.base}/")
        return not _CONTRACT & set(levels) and (not is_among_devices or of_device[1:2] == ["response"])

    def _pause(self, request: Request) -> dict[str, Any]:
        if request.paused:
            self._commands.pause()
        else:
            self._commands.resume()
        return {"paused": request.paused}

    def _resume(self, _: Request) -> dict[str, Any]:
        self._commands.resume()
        return {"paused": False}

    def _snapshot(self, _: Request) -> dict[str, Any]:
        jpeg = self._commands.snapshot()
        self._publish(Message(self._topics.image, jpeg, qos=0))
        return {"topic": self._topics.image, "bytes": len(jpeg)}

    def _reload(self, _: Request) -> dict[str, Any]:
        reloaded = self._commands.reload()
        return {"changed": list(reloaded.changed), "restarts": reloaded.restarts}

    def _restart(self, _: Request) -> dict[str, Any]:
        self._commands.restart()
        return {"restarts": True}

    def _override(self, request: Request) -> dict[str, Any]:
        changed = self._commands.override(request.settings).changed
        return {"changed": list(changed)}

    def _patch(self, request: Request) -> dict[str, Any]:
        reloaded = self._commands.patch(request.settings)
        return {"changed": list(reloaded.changed), "restarts": reloaded.restarts}

    def _teach(self, request: Request) -> dict[str, Any]:
        return self._commands.teach(request.lesson or lesson_of(request.verb, {}))

    def _head(self, request: Request) -> dict[str, Any]:
        return self._commands.take_head(request.head)

    def _install(self, request: Request) -> dict[str, Any]:
        if request.model is None:
            raise ModelError("name url, sha256 and bytes of a bundle")
        return self._commands.install_model(request.model)

    def _config(self, _: Request) -> dict[str, Any]:
        return {"config": plain(self._commands.config())}


def with_payload(request: Request, payload: bytes) -> Request:
    """Return the request with what its payload says; it may be empty, but for `teach/head`.

    Raises MalformedRequestError.
    """
    is_head = request.verb == "teach/head"
    if not payload and not is_head:
        return request
    most = _MAX_HEAD_PAYLOAD_BYTES if is_head else _MAX_PAYLOAD_BYTES
    if len(payload) > most:
        raise MalformedRequestError(f"the payload is larger than {most} bytes")
    try:
        given = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise MalformedRequestError(f"the payload is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise MalformedRequestError('the payload must be empty, or an object such as {"transaction": "1"}')
    transaction = given.get("transaction")
    if isinstance(transaction, bool) or not isinstance(transaction, str | int | None):
        raise MalformedRequestError("transaction must be a string or a whole number")
    if len(str(transaction)) > _MAX_TRANSACTION:
        raise MalformedRequestError(f"transaction is longer than {_MAX_TRANSACTION} characters")
    paused = given.get("paused", True)
    if not isinstance(paused, bool):
        raise MalformedRequestError("paused must be true or false")
    settings = given.get("settings", {})
    if not isinstance(settings, dict):
        raise MalformedRequestError('settings must be an object such as {"source.fps": 2}')
    if request.verb == "config/set" and not all(_is_number(value) for value in settings.values()):
        raise MalformedRequestError('settings must have numbers alone, such as {"source.fps": 2}')
    if is_head:
        return dataclasses.replace(request, transaction=transaction, head=head_of(given))
    if request.verb == "model/install":
        return dataclasses.replace(request, transaction=transaction, model=model_of(given))
    lesson = lesson_of(request.verb, given) if request.verb.startswith("teach/") else None
    return dataclasses.replace(
        request, transaction=transaction, paused=paused, settings=settings, lesson=lesson
    )


def head_of(given: Mapping[str, Any]) -> HeadRequest:
    """Return what the payload of `teach/head` brings. Raises MalformedRequestError."""
    region, head = given.get("region", ""), given.get("head")
    if not isinstance(region, str) or len(region) > _LONGEST_TEXT:
        raise MalformedRequestError(f"region must be a text of at most {_LONGEST_TEXT} characters")
    try:
        return HeadRequest(region, base64.b64decode(head, validate=True))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise MalformedRequestError("head must be the file of a head, in base64; empty for none") from None


def model_of(given: Mapping[str, Any]) -> ModelSource:
    """Return what the payload of `model/install` names. Raises MalformedRequestError."""
    try:
        return model_source(given)
    except ModelError as error:
        raise MalformedRequestError(str(error)) from None


def lesson_of(verb: str, given: Mapping[str, Any]) -> LessonRequest:
    """Return what the payload of `teach/...` asks. Raises MalformedRequestError."""
    texts = {name: given.get(name, "") for name in ("region", "label", "example")}
    for name, text in texts.items():
        if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
            raise MalformedRequestError(f"{name} must be a text of at most {_LONGEST_TEXT} characters")
    question = given.get("question")
    if question is not None and not (_is_number(question) and question == int(question)):
        raise MalformedRequestError("question must be the number of one")
    return LessonRequest(
        cast(TeachVerb, verb.removeprefix("teach/")),
        **texts,
        question=None if question is None else int(question),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
