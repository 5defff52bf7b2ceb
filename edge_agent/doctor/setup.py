"""The doctor's checks of what the configuration names: model, engine, camera and broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge_agent.artifact.sidecar import Artifact
from edge_agent.config.schema import Config
from edge_agent.doctor.check import Check, fail, ok, warn
from edge_agent.errors import BudgetError, EdgeAgentError
from edge_agent.inference.choice import choose_here
from edge_agent.sources import Source


def engine(artifact: Artifact, config: Config, environment: Mapping[str, str]) -> Check:
    """What the model would be run with, and whether that was measured here."""
    try:
        choice = choose_here(artifact, config.model, config.memory, environment)
    except BudgetError as error:
        return fail("engine", "nothing measured fits the budget", str(error))
    except EdgeAgentError as error:
        return fail("engine", "the model cannot be run here", str(error))
    found = f"{choice.name}, {choice.threads} threads"
    if choice.measured is None:
        return warn("engine", found, choice.reason)
    return ok("engine", f"{found}: {choice.reason}")


def camera(source: Source) -> Check:
    """Whether the source delivers a frame: it is opened, asked for one, and closed."""
    try:
        source.open()
        frame = source.read()
    except EdgeAgentError as error:
        return fail("camera", source.description, str(error))
    finally:
        source.close()
    if frame is None:
        return fail("camera", source.description, "it has no frame: the folder or the file is empty")
    height, width = frame.pixels.shape[:2]
    return ok("camera", f"{source.description}: {width}x{height} in {frame.capture_ms:.0f} ms")


def broker(place: str, probe: Callable[[], str]) -> Check:
    """Whether the broker accepts the agent; `probe` says as what, or raises BrokerError."""
    try:
        return ok("broker", f"{place}: {probe()}")
    except EdgeAgentError as error:
        return fail("broker", place, str(error))
