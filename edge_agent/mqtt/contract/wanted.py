"""Wanted state: what its owner wants of a group of devices, signed, on one retained topic.

The message is a line with the signature in base64, then a JSON document:

    {"schema": 1, "group": "porches", "sequence": 1748779200000, "revision": "calmer",
     "wanted": {"settings": {"stabilizer.window": 5}, "heads": {"frame": "<the head's file in base64>"},
                "model": {"url": "https://models.example/lite0.tar", "sha256": "<hash>", "bytes": 27852800}},
     "trial": {"devices": ["porch"], "settings": {"stabilizer.window": 9}}}

`wanted` is for every device of the group, `trial` in its place for those that it names. A device has what the
latest document gives it and nothing else: what a former one gave, and this one does not, is as it was before.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Annotated, Any

from edge_agent.errors import EdgeAgentError, ModelError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.source import ModelSource, model_source
from edge_agent.system.json_reader import JsonError, Rule, between, matching, parse, read

MAX_BYTES = 192 * 1024
"""The largest message: an agent receives no packet above 256 kB."""

KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_CONTEXT = b"edge-agent wanted 1\n"  # so that no other text that the key has signed passes for one of these
_NAME = matching(r"[a-zA-Z0-9_.-]{1,64}", "1 to 64 letters, digits, _, . and -")
_KNOWN_PARTS = frozenset({"settings", "heads", "devices", "model"})


class WantedError(EdgeAgentError):
    """A message of wanted state is not what the owner has signed, or says nothing that can be read."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a device is to have."""

    settings: Mapping[str, object] = field(default_factory=dict)
    """Values of JSON by the settings' dotted names."""
    heads: Mapping[str, str] = field(default_factory=dict)
    """Files of heads in base64, by the name of their region; `frame` for the whole picture."""
    model: ModelSource | None = None
    """A model to fetch; None for the device's own."""
    unknown: tuple[str, ...] = ()
    """Parts that this version does not know."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One document."""

    group: str
    sequence: int
    """When it was signed, in milliseconds since 1970; grows from one document of a group to the next."""
    revision: str
    """What its owner calls it."""
    everyone: Target
    trial: Target | None = None
    devices: frozenset[str] = frozenset()
    """Those that get `trial`."""

    def of(self, device_id: str) -> Target:
        """What that device is to have."""
        return self.trial if self.trial is not None and device_id in self.devices else self.everyone


@dataclass(frozen=True, slots=True)
class _Part:
    settings: Mapping[str, object] = field(default_factory=dict)
    heads: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, object] | None = None
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Document:
    schema: Annotated[int, Rule(lambda version: version == 1, "expected 1: a newer agent may know it")]
    group: Annotated[str, _NAME]
    sequence: Annotated[int, between(1, 2**53)]
    revision: Annotated[str, _NAME]
    wanted: _Part
    trial: _Part | None = None


def document(wanted: Wanted) -> bytes:
    """Return the JSON of a document, which is to be signed; the same for equal documents."""
    body: dict[str, Any] = {
        "schema": 1,
        "group": wanted.group,
        "sequence": wanted.sequence,
        "revision": wanted.revision,
        "wanted": _part(wanted.everyone),
    }
    if wanted.trial is not None:
        body["trial"] = {"devices": sorted(wanted.devices)} | _part(wanted.trial)
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _part(target: Target) -> dict[str, Any]:
    part: dict[str, Any] = {"settings": dict(target.settings)}
    if target.heads:
        part["heads"] = dict(target.heads)
    if target.model is not None:
        part["model"] = target.model.plain()
    return part


def signed(wanted: Wanted, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the message; `sign` returns the Ed25519 signature of a text.

    Raises WantedError where it would be larger than a device takes.
    """
    body = document(wanted)
    message = base64.b64encode(sign(_CONTEXT + body)) + b"\n" + body
    if len(message) > MAX_BYTES:
        raise WantedError(f"{len(message)} bytes are more than a device takes ({MAX_BYTES})")
    return message


def read_wanted(message: bytes, public_key: str, group: str) -> Wanted:
    """Return the document of a message for `group` whose signature is that of `public_key` (base64).

    Raises WantedError, which quotes nothing of a message that is not signed.
    """
    if len(message) > MAX_BYTES:
        raise WantedError(f"it is larger than {MAX_BYTES} bytes")
    signature, _, body = message.partition(b"\n")
    _verify(_decoded(signature, _SIGNATURE_BYTES, "it is not signed"), body, public_key)
    try:
        raw: Any = parse(body)
        found = read(_Document, raw)
    except JsonError as error:
        raise WantedError(f"it cannot be read: {error}") from None
    if found.group != group:
        raise WantedError(f"it is for the group {found.group}")
    try:
        trial = None if found.trial is None else _target(found.trial, raw["trial"])
        everyone = _target(found.wanted, raw["wanted"])
    except ModelError as error:
        raise WantedError(f"its model cannot be used: {error}") from None
    devices = frozenset(found.trial.devices if found.trial else ())
    return Wanted(group, found.sequence, found.revision, everyone, trial, devices)


def _target(part: _Part, raw: Mapping[str, object]) -> Target:
    model = None if part.model is None else model_source(part.model)
    return Target(part.settings, part.heads, model, tuple(sorted(raw.keys() - _KNOWN_PARTS)))


def _verify(signature: bytes, body: bytes, public_key: str) -> None:
    """Raise WantedError unless the signature is the key's. The library is loaded where there is one."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise WantedError(
            "signatures cannot be checked: install python3-cryptography (`sudo apt install`)"
        ) from None
    key = _decoded(public_key.encode(), KEY_BYTES, "fleet.public_key is no Ed25519 key in base64")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _CONTEXT + body)
    except (InvalidSignature, ValueError):
        raise WantedError("its signature is not that of fleet.public_key") from None


def _decoded(text: bytes, size: int, complaint: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    # Its last character has bits that are not used: each text but one of a signature is refused.
    if len(found) != size or base64.b64encode(found) != text:
        raise WantedError(complaint)
    return found
