"""Joins the heads of several cameras, without any picture and without the examples.

Per label a head keeps three exact sums over its examples: how many there are, the sum of their FP16 features,
and the sum of their squared lengths (see `moments`). They add up without rounding, so whatever is computed of
the joined sums is to the last bit what it would be had all examples been taught to one head: the centre, the
class means, and the floors of what is known by them. This is also true of frames without a name.

What cannot be joined that way is left out, so it is no part of that promise: the layer of a regression, and
the examples by which strangers are recognised. A joined head answers by class means. An example that was
taught to two of the heads counts twice. Its centre is that of all cameras together: cameras that see the same
thing in very different surroundings are better taught each for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.errors import TeachError
from edge_agent.teach.examples import MOST_LABELS
from edge_agent.teach.head import Taught
from edge_agent.teach.moments import joined


def merge(parts: Sequence[Taught]) -> Taught:
    """Join heads of the same backbone, in any order. Raises TeachError where that cannot be done exactly."""
    if not parts:
        raise TeachError("there are no heads to join")
    if any(part.backbone != parts[0].backbone for part in parts):
        raise TeachError(
            "the heads are of different models, or were taught with different arithmetic:"
            " only those of one model and one arithmetic can be joined"
        )
    classes = joined(part.classes for part in parts)
    if len(classes) > MOST_LABELS:
        raise TeachError(f"together the heads have {len(classes)} labels, more than {MOST_LABELS}")
    frames = joined({"": part.frames} for part in parts if part.frames)
    return Taught(parts[0].backbone, classes, frames.get(""), layer=None, fingerprint="")
