"""Text that must not be shown, and what is shown in its place."""

from __future__ import annotations

import re

MASK = "***"


class Secret(str):
    """A password. Show `shown()` instead; its repr is masked too."""

    __slots__ = ()

    def shown(self) -> str:
        """`***`, or an empty text where there is no secret."""
        return MASK if self else ""

    def __repr__(self) -> str:
        return repr(self.shown())


class SecretUrl(Secret):
    """A URL with a password in it: only its scheme and host are shown."""

    __slots__ = ()

    def shown(self) -> str:
        """`rtsp://***@camera:554/***`.

        Cameras take passwords in the path and the query too, so nothing behind the host is shown. Nor is the
        host where an `@` comes later than it should: it may well belong to a password.
        """
        scheme, separator, rest = self.partition("://")
        if not separator or not re.fullmatch("[A-Za-z][A-Za-z0-9+.-]*", scheme):
            return super().shown()  # `user:pass://word@camera` has no scheme, but begins with a login
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        behind = rest[len(authority) :]
        if "@" in behind:
            return f"{scheme}://{MASK}"
        credentials, at, host = authority.rpartition("@")
        path = f"/{MASK}" if len(behind) > 1 else behind
        return f"{scheme}://{MASK + at if credentials else ''}{host}{path}"
