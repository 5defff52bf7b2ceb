"""The key pair of a fleet: the private half signs wanted state, devices hold the public one."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edge_agent.errors import UsageError


def make_key(path: Path) -> str:
    """Write a new private key, which only its owner can read; returns the public one as devices take it.

    Raises UsageError where there is a file already: whoever loses a key has to visit every device.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return public_key(key)


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key. Raises UsageError, which quotes nothing of the file."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError):
        raise UsageError(f"{path} is no private key as `edge-agent fleet key` makes it") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is no Ed25519 key: make one with `edge-agent fleet key`")
    return key


def public_key(key: Ed25519PrivateKey) -> str:
    """Return what devices have as `fleet.public_key`."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
