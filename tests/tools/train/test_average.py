"""The mean of weights: those of batch norm's statistics among them, kept apart from what learns."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from edge_agent.tools.train.average import Average


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def set_all(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.copy_(torch.full_like(tensor, value))


def test_weights_and_statistics_are_averaged_alike_and_the_network_gets_its_own_back() -> None:
    made = network()
    set_all(made, 0.0)
    average = Average(made, [made], horizon=10)
    for step, value in ((1, 10.0), (2, 20.0)):
        set_all(made, value)
        average.update(step)
    expected = (0.1 * 0 + 0.9 * 10) * 2 / 11 + 20 * 9 / 11  # the first steps count for more: 1/10, then 2/11
    with average.in_place():
        state = made.state_dict()
        for name in ("0.weight", "1.running_mean", "1.running_var", "3.bias"):
            torch.testing.assert_close(state[name], torch.full_like(state[name], expected))
        assert int(state["1.num_batches_tracked"]) == 20
    assert all((tensor == 20).all() for tensor in made.state_dict().values())


def test_statistics_are_those_of_the_weights_that_they_stand_beside() -> None:
    made = network()
    optimizer = torch.optim.SGD(made.parameters(), 0.05)
    average = Average(made, [made], horizon=20)
    random = torch.Generator().manual_seed(1)
    pictures = [torch.randn(16, 3, 1, 1, generator=random) * 3 + 5 for _ in range(120)]
    for step, batch in enumerate(pictures, 1):
        made.train()
        loss = (made(batch) - 7).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(step)
    with average.in_place(), torch.no_grad():
        made.eval()
        seen = made[0](torch.cat(pictures))
        torch.testing.assert_close(made[1].running_mean, seen.mean((0, 2, 3)), rtol=0.1, atol=0.2)
        torch.testing.assert_close(made[1].running_var, seen.var((0, 2, 3)), rtol=0.2, atol=0.2)


def test_only_what_learns_is_kept_twice_and_it_goes_on_where_it_was() -> None:
    made = network()
    last = made[3]
    one = Average(made, [last], horizon=10)
    assert set(one.state()) == {"3.weight", "3.bias"}
    set_all(last, 3.0)
    one.update(1)
    other = Average(made, [last], horizon=10)
    other.load({name: tensor.clone() for name, tensor in one.state().items()})
    assert all(torch.equal(one.state()[name], tensor) for name, tensor in other.state().items())
