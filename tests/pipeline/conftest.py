"""The pipeline's tests use the clock and the threads of the sources' tests."""

from __future__ import annotations

from tests.sources.conftest import clock, in_thread

__all__ = ["clock", "in_thread"]
