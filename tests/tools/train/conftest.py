"""Torch with one thread: with more, its threads spin while they wait, and starve each other on busy cores."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> None:
    if find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
