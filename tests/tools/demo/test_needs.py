"""What the demo says on a machine where no engine can run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_agent.errors import EngineError
from edge_agent.inference.host import Host, read_host
from edge_agent.tools.demo.needs import require_engine

BARE = replace(read_host(), native="", xnnpack="", torch="")


def test_without_any_engine_one_line_says_what_to_install() -> None:
    with pytest.raises(EngineError) as caught:
        require_engine(BARE)
    said = str(caught.value)
    assert "\n" not in said
    assert "sudo apt-get install --no-install-recommends 'libxnnpack0*'" in said
    assert "sudo apt-get install --no-install-recommends gcc libc6-dev" in said
    assert "pip install 'edge-agent[torch]'" in said


@pytest.mark.parametrize(
    "host",
    [replace(BARE, native="avx2"), replace(BARE, xnnpack="libXNNPACK.so.0"), replace(BARE, torch="2.14.1")],
    ids=["native", "xnnpack", "torch"],
)
def test_one_engine_is_enough(host: Host) -> None:
    require_engine(host)
