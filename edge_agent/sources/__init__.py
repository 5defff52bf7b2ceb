"""Where frames come from. This module holds the protocol; importing it loads no camera library."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from edge_agent.errors import SourceError
from edge_agent.frame import Box, Frame


class LastingError(SourceError):
    """A failure that trying again soon does not mend, or makes worse."""

    attempts: ClassVar[int] = 1
    """After so many in a row the pause is a long one."""


class Source(Protocol):
    """A camera, stream, file or folder that yields RGB frames, used by one thread (the capture thread)."""

    @property
    def live(self) -> bool:
        """True for a source that does not wait: frames that nobody took in time are dropped. False for a
        folder or file that is played as fast as its pictures are taken."""
        ...

    @property
    def description(self) -> str:
        """A short name for logs, without secrets: `folder /srv/pictures`, `picamera2 0 (imx708)`."""
        ...

    def open(self) -> None:
        """Open the device. Raises SourceError, which says what is wrong and what to do. May be called again
        after `close`: reopening leaks nothing."""
        ...

    def read(self) -> Frame | None:
        """Return the next frame, waiting for it no longer than the source's timeout; None at the end of a
        source that ends (a folder played once). Raises SourceError when nothing came in time."""
        ...

    def close(self) -> None:
        """Release the device. Never raises; calling it twice is fine."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """A source whose frames pile up while nobody reads them, until they are old or the sender gives up."""

    def skip(self) -> bool:
        """Let the next frame pass, waiting for it no longer than the source's timeout. Raises SourceError.

        False where nothing piles up just now, and so nothing had to pass.
        """
        ...


@runtime_checkable
class Damageable(Protocol):
    """A source that knows which of its pictures cannot be used, and passes them over."""

    @property
    def damaged(self) -> int:
        """How many there were since the start."""
        ...


@runtime_checkable
class Focusing(Protocol):
    """A source that can show a part of its picture with all the pixels that its sensor has of it."""

    def focus(self, box: Box | None) -> None:
        """Show little more than `box`, a part of the picture as this source gives it; None: all of it.

        Takes effect with some frame after the call: each says in `window` what it shows. Never raises.
        """
        ...
