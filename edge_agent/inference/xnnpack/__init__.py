"""The lean engine: a lowered network on libXNNPACK, without torch."""

from edge_agent.inference.xnnpack.engine import XnnpackEngine

__all__ = ["XnnpackEngine"]
