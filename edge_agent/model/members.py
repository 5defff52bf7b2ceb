"""Reading the members of a JSON object with their types checked."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, NoReturn

from edge_agent.errors import ArtifactError


class Members:
    """The members of one JSON object of a file.

    Each reader returns a value of the type it is named after, or raises ArtifactError, which names the file
    and the key. `key` is where in the file the object is, empty for the whole document.
    """

    def __init__(self, path: Path, key: str, value: object) -> None:
        self._path = path
        self._prefix = f"{key}." if key else ""
        if not isinstance(value, dict):
            raise ArtifactError(
                f"{path}: {key or 'the document'} is not a JSON object; build the model again"
            )
        self._values: dict[str, Any] = value

    def fail(self, key: str, problem: str) -> NoReturn:
        raise ArtifactError(f"{self._path}: {self._prefix}{key} {problem}")

    def names(self) -> tuple[str, ...]:
        return tuple(self._values)

    def text(
        self, key: str, *, pattern: str = "", meaning: str = "a text", may_be_empty: bool = False
    ) -> str:
        value = self._get(key)
        if not self._is_text(value) or (not value and not may_be_empty):
            self.fail(key, f"is {_shown(value)}, expected {meaning}")
        if pattern and not re.fullmatch(pattern, value):
            self.fail(key, f"is {_shown(value)}, expected {meaning}")
        return str(value)

    def sha256(self, key: str) -> str:
        return self.text(key, pattern="[0-9a-f]{64}", meaning="64 hexadecimal digits")

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key)
        if not isinstance(value, list) or not value:
            self.fail(key, f"is {_shown(value)}, expected a list of texts")
        for index, item in enumerate(value):
            if not self._is_text(item) or not item:
                self.fail(f"{key}[{index}]", f"is {_shown(item)}, expected a text")
        return tuple(value)

    def integer(self, key: str, *, at_least: int, at_most: int | None = None) -> int:
        value = self._get(key)
        limits = f"of at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
        if type(value) is not int or value < at_least or (at_most is not None and value > at_most):
            self.fail(key, f"is {_shown(value)}, expected a whole number {limits}")
        return value

    def rgb(self, key: str) -> tuple[float, float, float]:
        value = self._get(key)
        if (
            not isinstance(value, list)
            or len(value) != 3
            or any(type(channel) not in (int, float) or not math.isfinite(channel) for channel in value)
        ):
            self.fail(key, f"is {_shown(value)}, expected three numbers")
        red, green, blue = (float(channel) for channel in value)
        return red, green, blue

    def members(self, key: str) -> Members:
        return Members(self._path, self._prefix + key, self._get(key))

    def list_of_members(self, key: str) -> list[Members]:
        value = self._get(key)
        if not isinstance(value, list):
            self.fail(key, f"is {_shown(value)}, expected a list")
        return [
            Members(self._path, f"{self._prefix}{key}[{index}]", item) for index, item in enumerate(value)
        ]

    def _get(self, key: str) -> Any:
        if key not in self._values:
            self.fail(key, "is missing; build the model again")
        return self._values[key]

    def _is_text(self, value: object) -> bool:
        if not isinstance(value, str):
            return False
        try:
            value.encode()  # JSON can carry half a surrogate pair, which no MQTT payload can
        except UnicodeEncodeError:
            return False
        return True


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
