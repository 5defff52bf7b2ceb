"""TLS towards servers, the same for the broker and for cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.system.lean_imports import import_ssl

if TYPE_CHECKING:
    from ssl import SSLContext


def client_context(ca_file: Path | None) -> SSLContext:
    """Return TLS 1.2 or later that checks the server's certificate and name; no setting turns that off.

    `ca_file`: the authority; None for the system's own list. Raises OSError where that cannot be read,
    ImportError where this Python has no `ssl`.
    """
    ssl = import_ssl()  # takes megabytes, and few need it
    context: SSLContext = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 would also insist on extensions that the certificates of a home-made authority rarely have.
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    return context
