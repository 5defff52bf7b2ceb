"""Suggests what a mistyped word may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def closest(word: str, known: Iterable[str], most: int = 1, at_least: float = 0.6) -> list[str]:
    """Return the known words that `word` may stand for, the closest first and `most` at the most.

    `at_least`: how similar they must be, 0 to 1. Upper case, and `-` or a space for `_`, make no difference.
    """
    from difflib import get_close_matches  # only where there is an error: the running agent never loads it

    by_form = {_form(name): name for name in known}
    return [by_form[form] for form in get_close_matches(_form(word), by_form, n=most, cutoff=at_least)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'votes'?`, or nothing where no known word is close."""
    return "".join(f"did you mean {name!r}?" for name in closest(word, known))


def _form(word: str) -> str:
    return word.lower().replace("-", "_").replace(" ", "_")
