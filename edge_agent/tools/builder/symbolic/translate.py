"""Translates a TorchScript archive to a plan without torch, as `lowering.graph` does with torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.model.plan import Shape
from edge_agent.tools.builder.archive.contents import Archive, ScriptObject
from edge_agent.tools.builder.lowering.plan_builder import LoweringError, PlanBuilder
from edge_agent.tools.builder.symbolic.budget import Budget
from edge_agent.tools.builder.symbolic.evaluate import Evaluator
from edge_agent.tools.builder.symbolic.operations import OperationError, Operations
from edge_agent.tools.builder.symbolic.recorded import Activation
from edge_agent.tools.builder.symbolic.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Translated:
    """A plan that is not finished yet, and the tensor of its output: what `lowering.blob.encode` takes.

    `ending`: `softmax` or `sigmoid` where the network itself ends with that. The plan leaves it out, because
    the daemon does it: the sidecar's `activation` must be the same.
    """

    plan: PlanBuilder
    output: int
    ending: str


def translate_archive(archive: Archive, input_shape: Shape) -> Translated:
    """Evaluate `forward` of an archive's network for one picture of (1, height, width, channels).

    Nothing in the archive is trusted; what evaluating it takes is bounded. Raises LoweringError, naming the
    operation and the module that it came from, or the line of the archive's code.
    """
    budget = Budget()
    recorder = Recorder(input_shape, budget)
    evaluator = Evaluator(archive, Operations(recorder, budget), budget)
    try:
        output = _evaluated(evaluator, archive.root, recorder.input())
    except OperationError:
        raise
    except LoweringError as error:
        raise LoweringError(f"{evaluator.place}: {error}") from None
    except RecursionError:
        raise LoweringError(f"{evaluator.place}: its code is nested too deeply") from None
    plan, tensor, ending = recorder.lower(output)
    return Translated(plan, tensor, ending)


def _evaluated(evaluator: Evaluator, root: ScriptObject, picture: Activation) -> Activation:
    inputs = evaluator.parameters(root, "forward")
    if len(inputs) != 1:
        raise LoweringError(f"the model takes {len(inputs)} inputs, not one")
    results = list(_activations(evaluator.method(root, "forward", [picture])))
    if len(results) != 1:
        raise LoweringError(f"the model has {len(results)} outputs, not one")
    return results[0]


def _activations(result: object) -> Iterator[Activation]:
    """The activations in a result, which may be a tuple or a dictionary with others that are None."""
    if isinstance(result, ScriptObject):
        result = tuple(result.attributes.values())
    elif isinstance(result, dict):
        result = tuple(result.values())
    for each in result if isinstance(result, tuple) else (result,):
        if isinstance(each, Activation):
            yield each
        elif each is not None:
            raise LoweringError("the model's output is not the result of a layer")
