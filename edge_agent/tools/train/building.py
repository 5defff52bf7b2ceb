"""What stays of a trained network: its weights in a file, and the model that is built from them."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from edge_agent.memory.trim import Trimmer
from edge_agent.model.sidecar import Artifact, Preprocessing
from edge_agent.tools import Report
from edge_agent.tools.builder.build import BuildOptions, build
from edge_agent.tools.builder.input_options import InputOptions


def write_weights(network: nn.Module, path: Path) -> None:
    """Write what a model is built from; takes the memory of the weights once more meanwhile."""
    torch.save({key: value.contiguous() for key, value in network.state_dict().items()}, path)


def build_model(
    output: Path, arch: str, weights: Path, labels: Sequence[str], taken: Preprocessing, report: Report
) -> Artifact:
    """Build a model of the weights in a file, beside which the labels are put.

    Takes about three times the memory of the weights. Raises ModelError.
    """
    names = weights.with_name("labels.json")
    names.write_text(json.dumps(labels), encoding="utf-8")
    return build(
        BuildOptions(output, arch, weights, names, taken=InputOptions.from_preprocessing(taken)), report
    )


def give_back() -> None:
    """Return to the system what nobody needs any more, and code that has run for the last time for now.

    A network whose parts are computed again refers to itself, so it is collected first.
    """
    gc.collect()
    Trimmer().trim()
