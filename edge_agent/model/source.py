"""Where a model can be fetched, and what must come from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from edge_agent.config.address import NetworkAddress, network_address
from edge_agent.errors import ConfigError, ModelError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.sidecar import Sha256
from edge_agent.system.json_reader import JsonError, between, read
from edge_agent.system.secret import Secret

MOST_BYTES = 2 << 30
_LONGEST_URL = 2000
_PORTS = {"https": 443}


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A bundle (`edge-agent model bundle`) on an HTTPS server, pinned by its hash and size."""

    url: Secret
    """It may hold a token, so it is shown nowhere."""
    sha256: str
    bytes: int

    @property
    def address(self) -> NetworkAddress:
        return _address(self.url)

    def plain(self) -> dict[str, Any]:
        """As JSON's own types, the address in it unmasked."""
        return {"url": str(self.url), "sha256": self.sha256, "bytes": self.bytes}


@dataclass(frozen=True, slots=True)
class _Given:
    url: str
    sha256: Sha256
    bytes: Annotated[int, between(1, MOST_BYTES)]


def model_source(given: Mapping[str, Any]) -> ModelSource:
    """Return what JSON's own types say. Raises ModelError, which does not quote the address."""
    try:
        found = read(_Given, dict(given))
    except JsonError as error:
        if isinstance(given.get("url"), str):
            raise ModelError(f"{error}") from None
        raise ModelError("url must be the HTTPS address of a bundle") from None
    if len(found.url) > _LONGEST_URL:
        raise ModelError(f"url is longer than {_LONGEST_URL} characters")
    if not found.url.isascii():
        raise ModelError("url must be ASCII: write %C3%A9 for é")
    address = _address(found.url)
    if address.user or address.password:
        raise ModelError("url must hold no user and no password")
    return ModelSource(Secret(found.url), found.sha256, found.bytes)


def _address(url: str) -> NetworkAddress:
    try:
        return network_address(url, _PORTS, "url")
    except ConfigError as error:
        raise ModelError(str(error)) from None
