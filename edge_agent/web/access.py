"""Who may ask: the names by which the page is reached, where a request comes from, tokens and rates."""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from typing import Literal

from edge_agent.config.address import ListenAddress, is_address, is_loopback
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.clock import Clock
from edge_agent.system.token_bucket import TokenBucket
from edge_agent.web.exchange import Head, RefusedError
from edge_agent.web.token_file import TokenFile

COOKIE = "edge_agent_session"

_PUBLIC = frozenset(("/healthz", "/login", "/static/page.css", "/static/icon.svg"))
_SAFE_METHODS = frozenset(("GET", "HEAD"))
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
_SESSION_S = 30 * 24 * 3600.0
_MOST_SESSIONS = 32
_MOST_CLIENTS = 256
_REQUESTS_PER_MINUTE = 3000
_FAILURES_PER_MINUTE = 10
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What the configuration says of who may ask."""

    listen: ListenAddress
    names: frozenset[str]
    """The names of this host and of `web.hosts`, in lower case."""
    token: Literal["auto", "always"]


class Access:
    """Decides on each request. Any thread may ask."""

    def __init__(self, rules: AccessRules, token: TokenFile, clock: Clock) -> None:
        self._rules = rules
        self._token = token
        self._clock = clock
        self._sessions: OrderedDict[str, float] = OrderedDict()
        self._rates = _Rates(_REQUESTS_PER_MINUTE, clock)
        self._failures = _Rates(_FAILURES_PER_MINUTE, clock)
        self._lock = threading.Lock()

    def check(self, head: Head) -> None:
        """Let a request through, or raise RefusedError."""
        with self._lock:
            if not self._rates.take(head.client):
                raise RefusedError(
                    429, "too_many_requests", "too many requests from this address", retry_after_s=5
                )
            name = self._host(head)
            _check_origin(head)
            if head.path not in _PUBLIC and self._needs_token(head, name):
                self._check_token(head)

    def log_in(self, token: str, head: Head) -> str:
        """Begin a session for who has the token; returns its cookie. Raises RefusedError."""
        with self._lock:
            self._compare(token, head.client)
            session = os.urandom(32).hex()
            self._sessions[session] = self._clock.monotonic_s() + _SESSION_S
            if len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        # Without a path, the browser takes that of the page, also below a proxy's prefix.
        secure = "; Secure" if head.header("origin").startswith("https://") else ""
        return f"{COOKIE}={session}; HttpOnly; SameSite=Lax; Max-Age={_SESSION_S:.0f}{secure}"

    def has_session(self, head: Head) -> bool:
        """Whether a request comes from who has logged in."""
        with self._lock:
            return self._sessions.get(_session(head), 0.0) > self._clock.monotonic_s()

    def log_out(self, head: Head) -> str:
        """End the session of a request; returns the cookie that removes it."""
        with self._lock:
            self._sessions.pop(_session(head), None)
        return f"{COOKIE}=; HttpOnly; SameSite=Lax; Max-Age=0"

    def _host(self, head: Head) -> str:
        """The name that the request was sent to. A page of another site may have led its own name here, but
        a browser still says that name."""
        found = _HOST.fullmatch(head.header("host"))
        name = found[1].strip("[]").lower().removesuffix(".") if found else ""
        if name and (name == "localhost" or is_address(name) or name in self._rules.names):
            return name
        raise RefusedError(421, "unknown_host", "this name is not one of this page's: see web.hosts")

    def _needs_token(self, head: Head, name: str) -> bool:
        if self._rules.token == "always" or not self._rules.listen.is_loopback:
            return True
        is_local = name == "localhost" or is_loopback(name)
        return not is_local or not is_loopback(head.client) or any(map(head.header, _FORWARDED))

    def _check_token(self, head: Head) -> None:
        ends_s = self._sessions.get(_session(head), 0.0)
        if ends_s > self._clock.monotonic_s():
            return
        scheme, _, token = head.header("authorization").partition(" ")
        if scheme.lower() == "bearer" and token:
            self._compare(token.strip(), head.client)
            return
        raise RefusedError(401, "token_needed", "a token is needed: `edge-agent web token` makes one")

    def _compare(self, token: str, client: str) -> None:
        if self._failures.is_exhausted(client):
            raise RefusedError(
                429, "too_many_tokens", "too many wrong tokens; wait a minute", retry_after_s=60
            )
        if not self._token.is_right(token):
            self._failures.take(client)
            raise RefusedError(
                401, "wrong_token", "this is not the token that `edge-agent web token` made last"
            )


class _Rates:
    """A token bucket for each of the addresses that came last."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, client: str) -> bool:
        """Whether one more may pass."""
        bucket = self._buckets.setdefault(client, TokenBucket(self._per_minute, self._clock))
        self._buckets.move_to_end(client)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return bucket.take()

    def is_exhausted(self, client: str) -> bool:
        """Whether none may pass now."""
        bucket = self._buckets.get(client)
        return bucket is not None and bucket.is_empty


def _check_origin(head: Head) -> None:
    """Refuse what a page of another site has sent. Programs that are no browsers send none of this."""
    origin, site = head.header("origin"), head.header("sec-fetch-site")
    is_visit = head.method in _SAFE_METHODS and head.header("sec-fetch-mode") == "navigate"
    if site not in ("", "same-origin", "none") and not is_visit:
        raise RefusedError(403, "cross_site", "this request comes from another site")
    if origin and head.method not in _SAFE_METHODS:
        scheme, separator, host = origin.partition("://")
        if not separator or scheme not in ("http", "https") or host.lower() != head.header("host").lower():
            raise RefusedError(403, "cross_site", "this request comes from another site")


def _session(head: Head) -> str:
    for part in head.header("cookie").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""
