"""The names of a network's classes."""

from __future__ import annotations

from pathlib import Path

from edge_agent.errors import ModelError

IMAGENET_CLASSES = 1000
_IMAGENET_LABELS = Path(__file__).with_name("imagenet_labels.txt")


def imagenet_labels() -> tuple[str, ...]:
    """Return the labels of ImageNet-1k in the order of torchvision's and EfficientNet-Lite's logits."""
    return read_labels(_IMAGENET_LABELS)


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a label file: UTF-8 text, one label a line in the order of the logits, each label once.

    Raises ModelError, which names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().split("\n")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text: {error}") from error
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        label = line.strip()
        if not label:
            raise ModelError(f"{path}: line {number} is empty; there must be one label a line")
        if label in first_line:
            raise ModelError(
                f"{path}: line {number} repeats the label of line {first_line[label]}, {label!r}: each class"
                " needs a label of its own (labels.map in the agent's configuration merges classes)"
            )
        first_line[label] = number
    return tuple(first_line)
