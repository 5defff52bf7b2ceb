"""The page's token: shown once when it is made, and kept as its hash alone."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from edge_agent.system.files import read_or_empty, write_atomic

_NAME = "web-token.sha256"
_BYTES = 32


class TokenFile:
    """The file in the state directory that holds the hash of the token."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / _NAME

    def make(self) -> str:
        """Make another token, which takes the place of the one before; returns it. Raises OSError.

        It is a number of 256 random bits, so that its plain hash tells nothing.
        """
        token = os.urandom(_BYTES).hex()
        write_atomic(self._path, f"{_hash(token)}\n", mode=0o600)
        return token

    @property
    def exists(self) -> bool:
        """Whether there is a token."""
        return bool(self._kept())

    def is_right(self, token: str) -> bool:
        """Whether this is the token made last. How long it takes tells nothing of it."""
        kept = self._kept().encode()
        return hmac.compare_digest(_hash(token).encode(), kept)

    def _kept(self) -> str:
        return read_or_empty(self._path).strip()


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
