"""A camera that sends JPEG over HTTP: a stream of them (MJPEG), or one for each request (a snapshot)."""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import HttpConfig
from edge_agent.errors import SourceError
from edge_agent.frame import Frame
from edge_agent.memory.room import Room
from edge_agent.sources.deadline import Deadline
from edge_agent.sources.http.client import Client
from edge_agent.sources.http.multipart import Parts, StreamError, boundary_of
from edge_agent.sources.picture import decode_picture
from edge_agent.system.log import RepeatedError
from edge_agent.system.text import printable

_LOG = logging.getLogger(__name__)
_MOST_BYTES = 8 << 20
_MOST_DAMAGED = 10
_LONGEST_REASON = 200
_TROUBLE = "picture"

_Result = TypeVar("_Result")


class HttpSource:
    """The answer to the first request decides: a multipart answer is a stream, any other one a snapshot.

    A picture that cannot be decoded is passed over; only many in a row are an error.
    """

    def __init__(
        self,
        config: HttpConfig,
        timeout_s: float,
        room: Room,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`room` returns how many bytes may be taken just now. Raises ConfigError."""
        self._client = Client(config.url, config.ca_file)
        self._timeout_s = timeout_s
        self._room = room
        self._clock = clock
        self._errors = RepeatedError(_LOG, clock)
        self._parts: Parts | None = None
        self._first: http.client.HTTPResponse | None = None
        self._frames = 0
        self._damaged = 0

    @property
    def live(self) -> bool:
        return True

    @property
    def description(self) -> str:
        return f"http {self._client.place.server}"

    @property
    def damaged(self) -> int:
        """How many pictures could not be decoded, since the start."""
        return self._damaged

    def open(self) -> None:
        """Send the first request. Raises SourceError."""
        self._within_timeout(self._begin)

    def read(self) -> Frame:
        """Return the next picture. Raises SourceError when none came in time."""
        started_s = self._clock()
        pixels = self._within_timeout(self._next_pixels)
        ended_s = self._clock()
        self._frames += 1
        return Frame(self._frames, ended_s, (ended_s - started_s) * 1000, pixels)

    def skip(self) -> bool:
        """Let the next picture of a stream pass, undecoded; False for snapshots, which do not pile up."""
        if self._parts is None:
            return False
        self._within_timeout(self._next_data)
        return True

    def close(self) -> None:
        self._client.close()
        self._parts = self._first = None

    def _begin(self) -> None:
        self.close()
        response = self._client.get()
        boundary = boundary_of(response.headers.get("Content-Type", ""))
        if boundary is None:
            self._first = response
        else:
            self._parts = Parts(response, boundary)

    def _next_pixels(self) -> NDArray[np.uint8]:
        for _ in range(_MOST_DAMAGED):
            data = self._next_data()
            try:
                pixels = decode_picture(data, f"from {self._client.place.server}", self._room())
            except SourceError as error:
                failure = error
                self._damaged += 1
                self._errors.report(_TROUBLE, f"passed over: {error}")
            else:
                self._errors.recovered(_TROUBLE, f"{self.description} sends whole pictures again")
                return pixels
        raise failure

    def _next_data(self) -> bytes:
        # What is received and what it is decoded into are in memory together.
        most_bytes = min(_MOST_BYTES, self._room() // 2)
        if self._parts is not None:
            return self._parts.next(most_bytes)
        response, self._first = self._first or self._client.get(), None
        if boundary_of(response.headers.get("Content-Type", "")) is not None:
            raise StreamError("sends a stream where it sent single pictures before")
        data = response.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise StreamError(f"sends a picture of more than {most_bytes / (1 << 20):.1f} MB")
        return data

    def _within_timeout(self, action: Callable[[], _Result]) -> _Result:
        self._client.deadline = Deadline(self._timeout_s, self._clock)
        server = self._client.place.server
        try:
            return action()
        except StreamError as error:
            raise SourceError(f"the camera at {server} {error}") from error
        except http.client.HTTPException as error:
            raise self._strange(error) from error
        except TimeoutError as error:
            raise SourceError(
                f"the camera at {server} gave no whole picture within {self._timeout_s:g} s; check the"
                " camera, the network and source.timeout_s"
            ) from error
        except OSError as error:
            reason = printable(error.strerror or str(error), _LONGEST_REASON)
            check = "source.http.ca_file" if "certificate" in reason else "source.http.url"
            raise SourceError(
                f"cannot reach the camera at {server}: {reason}; check the network, the camera and {check}"
            ) from error
        except ValueError as error:
            raise self._strange(error) from error

    def _strange(self, error: Exception) -> SourceError:
        return SourceError(
            f"the server at {self._client.place.server} does not speak HTTP as a camera does"
            f" ({type(error).__name__}); check source.http.url"
        )
