"""Downloads a bundle, checks it and unpacks it: a process of its own, which takes some 20 MB.

It reads an `Order` as JSON from its standard input, and writes what became of it, as JSON, to its output. It
imports little: what it takes counts against the agent's memory budget.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from edge_agent.errors import EdgeAgentError, ModelError
from edge_agent.install.bundle import unpack
from edge_agent.install.order import RESERVE_BYTES, Order, longest_s
from edge_agent.system.tls import client_context

MOST_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_PIECE = 1 << 16
_REFUSED = range(400, 500)
_MAY_PASS = (408, 425, 429)


class FetchError(EdgeAgentError):
    """A bundle could not be fetched; `again` where another try may do it."""

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


def fetch(order: Order, parent_is_there: Callable[[], bool]) -> dict[str, Any]:
    """Carry out the order; returns the files by their names, each with its bytes and SHA-256.

    Raises FetchError, or ModelError for what is no bundle.
    """
    directory = Path(order.directory)
    bundle = directory / "bundle"
    _check_room(order.bytes, directory)
    try:
        with _within(longest_s(order)):
            _download(order, bundle, parent_is_there)
    except OSError as error:
        raise _explained(error, order) from None
    except http.client.HTTPException as error:
        raise FetchError(f"{_server(order.url)} does not answer as a web server: {error!r}"[:300]) from None
    files = directory / "files"
    try:
        files.mkdir()
        with bundle.open("rb") as opened:
            found = unpack(opened, files)
        bundle.unlink()
    except OSError as error:
        raise FetchError(f"{files}: cannot be written: {error.strerror}", again=True) from None
    return {name: asdict(file) for name, file in found.items()}


def _download(order: Order, path: Path, parent_is_there: Callable[[], bool]) -> None:
    digest, received = hashlib.sha256(), 0
    with _answer(order) as response, path.open("xb") as file:
        if response.length is not None and response.length != order.bytes:
            raise FetchError(f"it has {response.length} bytes, not {order.bytes}")
        while piece := response.read1(_PIECE):
            received += len(piece)
            if received > order.bytes:
                raise FetchError(f"it has more than {order.bytes} bytes")
            if not parent_is_there():
                raise FetchError("the agent has ended", again=True)
            digest.update(piece)
            file.write(piece)
    if received < order.bytes:
        raise FetchError(f"it ended after {received} of {order.bytes} bytes", again=True)
    if digest.hexdigest() != order.sha256:
        raise FetchError(f"its SHA-256 is {digest.hexdigest()}, not the one asked for")


@contextmanager
def _answer(order: Order) -> Iterator[http.client.HTTPResponse]:
    """The answer that brings the bundle, after redirects to other HTTPS addresses."""
    url, context = order.url, _context(order)
    for _ in range(MOST_REDIRECTS + 1):
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=order.silence_s, context=context
        )
        with closing(connection):
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(
                "GET", target, headers={"User-Agent": "edge-agent", "Accept-Encoding": "identity"}
            )
            response = connection.getresponse()
            if response.status not in _REDIRECTS:
                _check_status(response, url)
                yield response
                return
            url = _elsewhere(url, response.headers.get("Location", ""))
    raise FetchError(
        f"{_server(order.url)} sends from one address to the next, more than {MOST_REDIRECTS} times"
    )


def _context(order: Order) -> Any:
    try:
        return client_context(Path(order.ca_file) if order.ca_file else None)
    except (ImportError, OSError) as error:
        raise FetchError(f"HTTPS cannot be used: {error}; check control.model_ca_file") from None


def _elsewhere(url: str, location: str) -> str:
    """Where a redirect leads. Raises FetchError unless that is an HTTPS address."""
    there = urljoin(url, location)
    try:
        parts = urlsplit(there)
        is_usable = parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc
        is_usable = is_usable and (parts.port is None or parts.port > 0)
    except ValueError:
        is_usable = False
    if not is_usable or re.search(r"[^\x21-\x7e]", there):
        raise FetchError(f"{_server(url)} sends elsewhere, but to no HTTPS address")
    return there


def _check_status(response: http.client.HTTPResponse, url: str) -> None:
    if response.status == 200:
        return
    is_lasting = response.status in _REFUSED and response.status not in _MAY_PASS
    raise FetchError(f"{_server(url)} answers {response.status}, and sends no file", again=not is_lasting)


def _explained(error: OSError, order: Order) -> FetchError:
    import ssl

    server = _server(order.url)
    if isinstance(error, ssl.SSLCertVerificationError):
        return FetchError(
            f"the certificate of {server} is not trusted ({error.verify_message}): name its authority in"
            " control.model_ca_file; or this board's clock is wrong"
        )
    if isinstance(error, TimeoutError):
        return FetchError(f"{server} is too slow, or has stopped sending", again=True)
    if isinstance(error, socket.gaierror):
        return FetchError(f"the name of {server} cannot be looked up", again=True)
    return FetchError(f"fetching it from {server} has failed: {error.strerror or error}", again=True)


def _check_room(size: int, directory: Path) -> None:
    """The bundle and what is unpacked lie there together. Raises FetchError."""
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if 2 * size + RESERVE_BYTES > free:
        raise FetchError(
            f"{directory.parent}: {free / 1e6:.0f} MB are free, and the bundle and its files need"
            f" {2 * size / 1e6:.0f} MB beside {RESERVE_BYTES / 1e6:.0f} MB that stay free"
        )


def _server(url: str) -> str:
    """Host and port: what lies behind them may hold a token."""
    return urlsplit(url).netloc[:300]


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError where the block takes longer, whatever it waits for."""

    def end(_number: int, _frame: object) -> None:
        raise TimeoutError

    former = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def main() -> int:
    """Carry out the order on standard input; the result is JSON on standard output."""
    parent = os.getppid()
    order = Order(**json.load(sys.stdin))
    with suppress(OSError):  # the unit may forbid it
        os.nice(10)
    result: dict[str, Any]
    try:
        result = {"files": fetch(order, lambda: os.getppid() == parent)}
    except FetchError as error:
        result = {"error": str(error), "again": error.again}
    except ModelError as error:
        result = {"error": str(error), "again": False}
    with suppress(OSError):  # the agent may have ended
        os.write(sys.stdout.fileno(), json.dumps(result).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
