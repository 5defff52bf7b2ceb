"""Writes the code of a head that takes the place of an architecture's own."""

from __future__ import annotations

from edge_agent.tools.builder.heads import Head, Layer
from edge_agent.tools.builder.skeletons.skeleton import Part
from edge_agent.tools.builder.state_dict import State

HEAD_MODULE = "__torch__.edge_agent_head"
_CLASS = f"{HEAD_MODULE}.Head"
_LAYER = f"{HEAD_MODULE}.Layer"


def make_head(head: Head, root: Part, state: State) -> tuple[Part, str]:
    """Return the part to put in the place of `head.name`, and the code of its class."""
    own = _at(root, head.name)
    if "" in head.layers:
        single = head.layers[""]
        weights = {name: state[f"{head.name}.{name}"].shape for name in single.weights}
        return Part(_CLASS, weights), _code([_call(single, "self", "picture")])
    parts, lines, value = {}, [], "picture"
    for place, (name, layer) in enumerate(head.layers.items()):
        parts[name] = own.parts[name] if layer.kind == "own" else _part(head.name, name, layer, state)
        module = f'getattr(self, "{name}")'
        lines.append(f"v{place} = {_call(layer, module, value)}")
        value = f"v{place}"
    return Part(_CLASS, parts=parts), _code([*lines, value])


def _part(head: str, name: str, layer: Layer, state: State) -> Part:
    return Part(_LAYER, {weight: state[f"{head}.{name}.{weight}"].shape for weight in layer.weights})


def _at(root: Part, name: str) -> Part:
    for step in name.split("."):
        root = root.parts[step]
    return root


def _code(lines: list[str]) -> str:
    """The last line is the result."""
    *steps, result = lines
    body = "".join(f"    {step}\n" for step in steps)
    return (
        f"class Layer(Module):\n  training : bool\n"
        f"class Head(Module):\n  training : bool\n"
        f"  def forward(self: {_CLASS},\n    picture: Tensor) -> Tensor:\n{body}    return {result}\n"
    )


def _call(layer: Layer, module: str, value: str) -> str:
    """The operation of a layer on a value, as TorchScript writes it."""

    def weight(name: str) -> str:
        return f"({module}).{name}" if name in layer.weights else "None"

    match layer.kind:
        case "linear":
            return f"torch.linear({value}, {weight('weight')}, {weight('bias')})"
        case "batch norm":
            learned = f"{weight('weight')}, {weight('bias')}"
            seen = f"{weight('running_mean')}, {weight('running_var')}"
            return f"torch.batch_norm({value}, {learned}, {seen}, False, 0.1, 1e-05, True)"
        case "layer norm":
            learned = f"{weight('weight')}, {weight('bias')}"
            return f"torch.layer_norm({value}, [{layer.inputs}], {learned}, 1e-05, True)"
        case "prelu":
            return f"torch.prelu({value}, {weight('weight')})"
        case "relu":
            return f"torch.relu({value})"
        case "own":
            return f"({module}).forward({value}, )"
