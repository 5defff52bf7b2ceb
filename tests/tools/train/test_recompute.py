"""Computing again instead of keeping changes memory and time, and nothing else."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from edge_agent.errors import ModelError
from edge_agent.tools.builder.architectures import find_architecture
from edge_agent.tools.train.recompute import Checkpoint, recompute

State = dict[str, torch.Tensor]


def after_a_step(arch: str, mode: Checkpoint) -> tuple[State, State, int]:
    """The gradients and the statistics of one step, and how many bytes were kept for it."""
    torch.manual_seed(1)
    network = find_architecture(arch).make(3).train()
    recompute(network, mode, 64)
    pictures = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    kept = 0

    def note(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        if not isinstance(tensor, torch.nn.Parameter):
            kept += tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = torch.nn.functional.cross_entropy(network(pictures), torch.tensor([0, 1, 2, 0]))
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: each.grad for name, each in network.named_parameters() if each.grad is not None}
    return gradients, dict(network.named_buffers()), kept


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("mode", ["stages", "blocks"])
def test_gradients_are_the_same_and_statistics_are_counted_once(arch: str, mode: Checkpoint) -> None:
    gradients, statistics, kept = after_a_step(arch, "none")
    same, once, less = after_a_step(arch, mode)
    assert gradients.keys() == same.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(same[name], gradient, rtol=1e-4, atol=1e-5)
    for name, value in statistics.items():
        torch.testing.assert_close(once[name], value, rtol=1e-6, atol=1e-7)
    assert all(int(value) == 1 for name, value in once.items() if name.endswith("num_batches_tracked"))
    assert less < 0.6 * kept


def test_a_network_whose_blocks_are_not_known_is_refused() -> None:
    with pytest.raises(ModelError, match="train it with --checkpoint none"):
        recompute(torch.nn.Linear(2, 2), "blocks", 64)
