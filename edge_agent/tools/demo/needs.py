"""What the demo needs of the machine: something that runs a network."""

from __future__ import annotations

from edge_agent.errors import EngineError
from edge_agent.inference.host import Host

_COMPILER = "sudo apt-get install --no-install-recommends gcc libc6-dev"
_LIBRARY = "sudo apt-get install --no-install-recommends 'libxnnpack0*'"
_TORCH = "pip install 'edge-agent[torch]'"


def require_engine(host: Host) -> None:
    """Raise EngineError, which says what to install, where this machine has none of the engines."""
    if host.native or host.xnnpack or host.torch:
        return
    raise EngineError(
        f"nothing here can run a network: install Debian's library ({_LIBRARY}), or a C compiler"
        f" ({_COMPILER}) and edge-agent once more, or torch, which takes several times the memory ({_TORCH})"
    )
