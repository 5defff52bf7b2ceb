"""The page itself: its files, its first view written into the HTML, and the form that asks for the token."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from urllib.parse import parse_qsl

from edge_agent import __version__
from edge_agent.mqtt.contract.payloads import Health, Info, State
from edge_agent.system.text import printable
from edge_agent.web.access import Access
from edge_agent.web.agent_view import AgentView
from edge_agent.web.application import Handler, Route
from edge_agent.web.exchange import HTML, RefusedError, Request, Response

_STATIC = Path(__file__).parent / "static"
_SCRIPT, _STYLE, _SVG = "text/javascript; charset=utf-8", "text/css; charset=utf-8", "image/svg+xml"
_FILES = {
    "page.css": _STYLE,
    "icon.svg": _SVG,
    "page.js": _SCRIPT,
    "api.js": _SCRIPT,
    "now.js": _SCRIPT,
    "events.js": _SCRIPT,
    "charts.js": _SCRIPT,
    "try.js": _SCRIPT,
    "settings.js": _SCRIPT,
    "pairs.js": _SCRIPT,
    "regions.js": _SCRIPT,
    "teach.js": _SCRIPT,
}
"""The files that are served, and nothing else of their folder."""

_MOST_FORM_BYTES = 1024
_LONGEST_SHOWN = 200


class Page:
    """Answers with HTML, and with the files that it names."""

    def __init__(self, agent: AgentView, access: Access) -> None:
        self._agent = agent
        self._access = access

    def routes(self) -> Iterator[Route]:
        """Everything that can be asked."""
        yield Route("GET", "/", self._page)
        yield Route("GET", "/login", lambda _request, _query: _login())
        yield Route("POST", "/login", self._log_in, _MOST_FORM_BYTES)
        yield Route("POST", "/logout", self._log_out, _MOST_FORM_BYTES)
        for name, kind in _FILES.items():
            yield Route("GET", f"/static/{name}", _file(name, kind))

    def _page(self, request: Request, __: Mapping[str, str]) -> Response:
        config, states = self._agent.config(), self._agent.states()
        is_taught = config.web.allow_teach and config.teach.enabled
        html = filled(
            "index.html",
            {
                "device": escape(config.device_id),
                "version": escape(__version__),
                "editable": "true" if config.web.allow_edit else "false",
                "teachable": "true" if is_taught else "false",
                "hidden": "" if self._access.has_session(request.head) else " hidden",
                "waiting": "" if states else " waiting",
                "frame": 'src="api/v1/frame.jpg?width=640" ' if states else "",
                "off": off_html(can_teach=is_taught, can_edit=config.web.allow_edit),
                "now": now_html(states),
                "board": board_html(self._agent.health(), self._agent.info()),
            },
        )
        return Response(html.encode(), HTML)

    def _log_in(self, request: Request, _: Mapping[str, str]) -> Response:
        form = request.body.read(request.length).decode("utf-8", "replace")
        try:
            fields = dict(parse_qsl(form, max_num_fields=4))
            cookie = self._access.log_in(fields.get("token", "").strip(), request.head)
        except ValueError:
            return _login("This form was not filled in by this page.", 400)
        except RefusedError as refused:
            return _login(f"{refused}.", refused.status)
        return Response(b"", HTML, 303, (("Location", "./"), ("Set-Cookie", cookie)))

    def _log_out(self, request: Request, _: Mapping[str, str]) -> Response:
        return Response(
            b"", HTML, 303, (("Location", "login"), ("Set-Cookie", self._access.log_out(request.head)))
        )


def filled(name: str, parts: Mapping[str, str]) -> str:
    """The HTML file `name` with its `{{parts}}` filled in; they are HTML already."""
    text = (_STATIC / name).read_text(encoding="utf-8")
    return re.sub(r"{{(\w+)}}", lambda found: parts[found[1]], text)


def now_html(states: tuple[State, ...]) -> str:
    """The present answers, as a browser without JavaScript shows them."""
    if not states:
        return '<p class="label" id="label">No frame yet</p><ol class="top" id="top"></ol>'
    state = states[0]
    label = "unknown" if state.unknown else _shown(state.label)
    rows = "".join(
        f"<li><span>{_shown(score.label)}</span>"
        f"<output>{score.score:.0%}</output>"
        f'<meter min="0" max="1" value="{score.score:.4f}" aria-label="{_shown(score.label)}, probability">'
        f"{score.score:.0%}</meter></li>"
        for score in state.top
    )
    return f'<p class="label" id="label">{label}</p><ol class="top" id="top">{rows}</ol>'


def off_html(*, can_teach: bool, can_edit: bool) -> str:
    """What the page could do, but may not, and which settings let it."""
    off = (
        ("Teaching labels of your own", "web.allow_teach: true", can_teach),
        ("Changing settings, and drawing regions", "web.allow_edit: true", can_edit),
    )
    lines = (f"<p>{what} is off here: <code>{how}</code> allows it.</p>" for what, how, can in off if not can)
    return "".join(lines)


def board_html(health: Health | None, info: Info | None) -> str:
    """How the agent is, as a list of names and values."""
    rows: list[tuple[str, str]] = []
    if health is not None:
        memory, fps, camera = health.memory, health.fps, health.camera
        trouble = f": {camera.last_error}" if camera.last_error and camera.state != "running" else ""
        rows += [
            ("Camera", f"{camera.state}{trouble}"),
            ("Broker", "connected" if health.mqtt.connected else health.mqtt.last_error or "not connected"),
            ("Memory", f"{memory.rss_mb:.0f} of {memory.budget_mb:.0f} MB"),
            ("Frames", "not known yet" if fps is None else f"{fps:.1f} a second"),
        ]
    if info is not None:
        rows.append(("Model", f"{info.model.name}, {info.engine.engine} {info.engine.precision}"))
    return "".join(f"<dt>{name}</dt><dd>{_shown(value)}</dd>" for name, value in rows)


def _shown(text: str) -> str:
    return escape(printable(text, _LONGEST_SHOWN))


def _login(message: str = "", status: int = 200) -> Response:
    html = filled("login.html", {"message": escape(message)})
    return Response(html.encode(), HTML, status)


def _file(name: str, kind: str) -> Handler:
    def handle(request: Request, _: Mapping[str, str]) -> Response:
        content = (_STATIC / name).read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = (("ETag", tag), ("Cache-Control", "no-cache"))
        if request.head.header("if-none-match") == tag:
            return Response(b"", kind, 304, headers)
        return Response(content, kind, 200, headers)

    return handle
