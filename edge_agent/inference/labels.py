"""Label policy: which classes of the model are published, and under which names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ConfigError
from edge_agent.inference import Score
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.suggest import did_you_mean


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """The classes of a model, grouped under the names that they are published as.

    Classes of one name form one group, whose probability is the sum of theirs, at most 1.
    """

    names: tuple[str, ...]
    """The name of each group, in the order of its first class."""
    group_of_class: NDArray[np.intp]
    """Shape (classes,): the group that each class belongs to."""
    published: NDArray[np.intp]
    """The groups that may be published, ascending."""

    @classmethod
    def compile(
        cls,
        labels: Sequence[str],
        mapping: Mapping[str, str] | None = None,
        allow: Iterable[str] = (),
        deny: Iterable[str] = (),
    ) -> LabelMap:
        """Group the model's `labels`, renamed by `mapping`; publish the names in `allow`, or all if empty,
        but none in `deny`.

        Raises ConfigError, naming every label in `mapping`, `allow` and `deny` that the model does not have.
        """
        renames = dict(mapping or {})
        renamed = [renames.get(label, label) for label in labels]
        names = tuple(dict.fromkeys(renamed))
        allowed, denied = frozenset(allow), frozenset(deny)
        problems = [
            *_unknown("labels.map", renames, labels),
            *_unknown("labels.allow", sorted(allowed), names),
            *_unknown("labels.deny", sorted(denied), names),
        ]
        if problems:
            raise ConfigError("\n".join(problems))

        def is_published(name: str) -> bool:
            return name not in denied and (not allowed or name in allowed)

        group_of_name = {name: group for group, name in enumerate(names)}
        return cls(
            names=names,
            group_of_class=np.array([group_of_name[name] for name in renamed], np.intp),
            published=np.array([group_of_name[name] for name in names if is_published(name)], np.intp),
        )

    def merge(self, probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return each group's probability, shape (groups,), from those of the classes, shape (classes,).

        Those of classes that do not exclude each other may add up to more than 1, which stays 1.
        """
        sums = np.bincount(self.group_of_class, weights=probabilities, minlength=len(self.names))
        return np.minimum(sums, 1.0)

    def top(self, probabilities: NDArray[np.floating], k: int) -> tuple[Score, ...]:
        """Return the `k` most probable published labels, best first (fewer where fewer are published).

        `probabilities` has shape (classes,), each 0 to 1. Equal scores are ordered by class index. A merged
        label has the index of its most probable class.
        """
        merged = self.merge(probabilities)[self.published]
        best = np.argsort(-merged, kind="stable")[:k]
        return tuple(self._score(int(self.published[i]), float(merged[i]), probabilities) for i in best)

    def _score(self, group: int, score: float, probabilities: NDArray[np.floating]) -> Score:
        members = np.flatnonzero(self.group_of_class == group)
        strongest = members[np.argmax(probabilities[members])]
        return Score(self.names[group], int(strongest), score)


def _unknown(key: str, wanted: Iterable[str], known: Sequence[str]) -> list[str]:
    known_set = frozenset(known)
    return [
        f"{key}: the model has no label {name!r}{_hint(name, known)}"
        for name in wanted
        if name not in known_set
    ]


def _hint(name: str, known: Sequence[str]) -> str:
    hint = did_you_mean(name, known)
    return f"; {hint}" if hint else ""
