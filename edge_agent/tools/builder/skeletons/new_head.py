"""Writes the code of a head that takes the place of an architecture's own."""

from __future__ import annotations

from edge_agent.tools.builder.heads import Head, Layer
from edge_agent.tools.builder.skeletons.skeleton import Part
from edge_agent.tools.builder.state_dict import State

HEAD_MODULE = "__torch__.new_head"


def make_head(head: Head, root: Part, state: State) -> tuple[Part, str]:
    """Return the part to put in the place of `head.name`, and the code of its classes."""
    if "" in head.layers:
        return _layer("Head", head.layers[""], head.name, state)
    own = root.at(head.name)
    parts, lines, code = {}, [], ""
    for place, (name, layer) in enumerate(head.layers.items()):
        if layer.kind == "own":
            parts[name] = own.parts[name]
        else:
            parts[name], added = _layer(f"Layer{place}", layer, f"{head.name}.{name}", state)
            code += added
        lines.append(f'picture = (getattr(self, "{name}")).forward(picture, )')
    return Part(f"{HEAD_MODULE}.Head", parts=parts), code + _class("Head", [*lines, "return picture"])


def _layer(class_name: str, layer: Layer, name: str, state: State) -> tuple[Part, str]:
    """A layer of its own class: `name` is its place in the network."""
    weights = {weight: state[f"{name}.{weight}"].shape for weight in layer.weights}
    return Part(f"{HEAD_MODULE}.{class_name}", weights), _class(class_name, [f"return {_call(layer)}"])


def _class(name: str, lines: list[str]) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return (
        f"class {name}(Module):\n  training : bool\n"
        f"  def forward(self: {HEAD_MODULE}.{name},\n    picture: Tensor) -> Tensor:\n{body}"
    )


def _call(layer: Layer) -> str:
    """The operation of a layer, as TorchScript writes it."""

    def weight(name: str) -> str:
        return f"self.{name}" if name in layer.weights else "None"

    learned = f"{weight('weight')}, {weight('bias')}"
    match layer.kind:
        case "linear":
            return f"torch.linear(picture, {learned})"
        case "batch norm":
            seen = f"{weight('running_mean')}, {weight('running_var')}"
            return f"torch.batch_norm(picture, {learned}, {seen}, False, 0.1, 1e-05, True)"
        case "layer norm":
            return f"torch.layer_norm(picture, [{layer.inputs}], {learned}, 1e-05, True)"
        case "prelu":
            return f"torch.prelu(picture, {weight('weight')})"
        case "relu":
            return "torch.relu(picture)"
        case "own":
            raise AssertionError("a layer that is kept has its own code")
