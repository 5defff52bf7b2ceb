"""Answers a server's demand for a login: Basic (RFC 7617) and Digest (RFC 7616, and the older RFC 2617)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edge_agent.config.address import NetworkAddress
from edge_agent.lean_dataclass import dataclass
from edge_agent.sources import LastingError

_HASHES: dict[str, Callable[..., Any]] = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
"""The best first."""
_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Digest)(?=\s|,|$)", re.IGNORECASE)
_PARAMETER = re.compile(r'([a-zA-Z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class LoginRefusedError(LastingError):
    """The camera refuses the user or the password. Cameras lock out those who go on trying."""

    attempts = 3


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password as bytes of UTF-8, each of which is one character: headers are sent like that."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(***)"

    @classmethod
    def from_address(cls, address: NetworkAddress) -> Credentials | None:
        """Return the login that the address holds; None where it holds none."""
        if not address.user and not address.password:
            return None
        return cls(*(text.encode().decode("latin-1") for text in (address.user, address.password)))


@dataclass(frozen=True, slots=True)
class _Challenge:
    scheme: str
    parameters: dict[str, str]

    @property
    def rank(self) -> int:
        """Which one to answer: the highest; negative for one that cannot be answered."""
        if self.scheme == "basic":
            return 0
        names = list(_HASHES)
        name = self.algorithm.upper().removesuffix("-SESS")
        return len(names) - names.index(name) if name in names and "nonce" in self.parameters else -1

    @property
    def algorithm(self) -> str:
        return self.parameters.get("algorithm", "MD5")


class Login:
    """The login of one server. A Digest that was accepted is used again, so that nothing is asked twice."""

    def __init__(self, credentials: Credentials | None, random: Callable[[int], bytes] = os.urandom) -> None:
        self._credentials = credentials
        self._random = random
        self._challenge: _Challenge | None = None
        self._count = 0

    @property
    def has_credentials(self) -> bool:
        return self._credentials is not None

    def challenged(self, headers: Sequence[str]) -> bool:
        """Take note of the `WWW-Authenticate` headers of a 401; False where an answer makes no sense.

        An answer was refused already, unless the server says that only its nonce had become stale.
        """
        challenges = [challenge for header in headers for challenge in _challenges(header)]
        best = max(challenges, key=lambda challenge: challenge.rank, default=None)
        if self._credentials is None or best is None or best.rank < 0:
            return False
        is_stale = best.parameters.get("stale", "").lower() == "true"
        was_answered, self._challenge = self._challenge is not None, best
        self._count = 0
        if was_answered and not is_stale:
            self._challenge = None
            return False
        return True

    def answer(self, method: str, uri: str) -> str | None:
        """Return the `Authorization` header for a request; None before the server has asked for one."""
        credentials, challenge = self._credentials, self._challenge
        if credentials is None or challenge is None:
            return None
        if challenge.scheme == "basic":
            both = f"{credentials.user}:{credentials.password}".encode("latin-1")
            return f"Basic {base64.b64encode(both).decode()}"
        self._count += 1
        return _digest(credentials, challenge, method, uri, self._count, self._random(8).hex())


def _challenges(header: str) -> Iterator[_Challenge]:
    """The challenges that one header holds, which may be several."""
    header = re.sub(r"[\r\n]+", " ", header)
    starts = list(_SCHEME.finditer(header))
    ends = (*(start.start() for start in starts[1:]), len(header))
    for start, end in zip(starts, ends, strict=False):
        found = _PARAMETER.finditer(header, start.end(), end)
        parameters = {one[1].lower(): one[3] if one[2] is None else one[2] for one in found}
        yield _Challenge(start[1].lower(), parameters)


def _digest(
    credentials: Credentials, challenge: _Challenge, method: str, uri: str, count: int, cnonce: str
) -> str:
    asked = challenge.parameters
    name, is_session = challenge.algorithm, challenge.algorithm.upper().endswith("-SESS")
    make_hash = _HASHES[name.upper().removesuffix("-SESS")]

    def hashed(*parts: str) -> str:
        return str(make_hash(":".join(parts).encode("latin-1"), usedforsecurity=False).hexdigest())

    realm, nonce, nc = asked.get("realm", ""), asked["nonce"], f"{count:08x}"
    secret = hashed(credentials.user, _unescaped(realm), credentials.password)
    if is_session:
        secret = hashed(secret, nonce, cnonce)
    request = hashed(method, uri)
    fields = {"username": credentials.user.replace("\\", "\\\\").replace('"', '\\"'), "realm": realm}
    fields |= {"nonce": nonce, "uri": uri}
    plain: dict[str, str] = {}
    if "auth" in re.split(r"[\s,]+", asked.get("qop", "")):
        fields |= {"cnonce": cnonce, "response": hashed(secret, nonce, nc, cnonce, "auth", request)}
        plain = {"qop": "auth", "nc": nc}
    else:
        fields |= {"response": hashed(secret, nonce, request)}
    if "algorithm" in asked:
        plain["algorithm"] = name
    if "opaque" in asked:
        fields["opaque"] = asked["opaque"]
    quoted = [f'{key}="{value}"' for key, value in fields.items()]
    return "Digest " + ", ".join([*quoted, *(f"{key}={value}" for key, value in plain.items())])


def _unescaped(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted)
