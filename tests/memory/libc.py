"""A C library that writes down what it is asked for."""

from __future__ import annotations


class FakeLibc:
    """Writes down what it is asked for."""

    def __init__(self, *, is_glibc: bool = True) -> None:
        self.is_glibc = is_glibc
        self.options: dict[int, int] = {}
        self.dropped: list[tuple[int, int]] = []

    def mallopt(self, parameter: int, value: int) -> bool:
        self.options[parameter] = value
        return self.is_glibc

    def malloc_trim(self) -> bool | None:
        return True if self.is_glibc else None

    def drop(self, start: int, length: int) -> bool:
        self.dropped.append((start, length))
        return True
