"""Text that must not be shown."""

from __future__ import annotations


class Secret(str):
    """A string that must not be shown: its repr is masked, and so is it wherever configuration is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"
