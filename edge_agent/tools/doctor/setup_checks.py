"""The doctor's checks of what the configuration names: model, engine, camera and broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from edge_agent.config.schema import Config
from edge_agent.errors import ArtifactError, BudgetError, EdgeAgentError
from edge_agent.frame import Frame
from edge_agent.inference.choice import choose_here
from edge_agent.install.in_use import FROM_ELSEWHERE, is_from_elsewhere, refuse_program
from edge_agent.model.sidecar import Artifact, check_whole, read_sidecar
from edge_agent.mqtt.wire.probe import probe
from edge_agent.pipeline.capture_loop import CapturePolicy
from edge_agent.pipeline.few_pixels import has_few, remedy, size_of
from edge_agent.pipeline.part import Part
from edge_agent.sources import Source
from edge_agent.system.clock import Clock
from edge_agent.tools.doctor.check import Check, fail, ok, warn


def model(directory: Path) -> Check:
    """Whether the model is there and each of its files is undamaged."""
    try:
        artifact = read_sidecar(directory)
        check_whole(artifact)
    except ArtifactError as error:
        return fail("model", str(directory), str(error))
    return ok("model", f"{artifact.sidecar.name} in {directory}, its files undamaged")


def model_from_elsewhere(directory: Path) -> Check:
    """The same of a model that came over MQTT, which the agent runs in place of model.path."""
    check = model(directory)
    if check.verdict == "ok":
        return replace(check, found=f"{check.found}; {FROM_ELSEWHERE}")
    remedy = (
        f"remove {directory} and restart the agent, which then runs model.path; ask for the model again by"
        f" model/install or `edge-agent fleet push` ({check.advice})"
    )
    return fail(check.name, f"{directory}; {FROM_ELSEWHERE}", remedy)


def model_to_go_back_to(configured: Path) -> Check:
    """The configured model while another runs: nobody would notice its damage before it is needed."""
    check = model(configured)
    if check.verdict == "ok":
        return ok("model.path", check.found)
    why = f"the agent goes back to it where the model that came over MQTT fails: {check.advice}"
    return warn("model.path", check.found, why)


def engine(artifact: Artifact, config: Config, environment: Mapping[str, str]) -> Check:
    """How the model would be run, and whether that was measured on this board."""
    try:
        choice = choose_here(artifact, config.model, config.memory, environment)
        if is_from_elsewhere(artifact.directory):
            refuse_program(choice)
    except BudgetError as error:
        return fail("engine", "nothing measured fits the budget", str(error))
    except EdgeAgentError as error:
        return fail("engine", "the model cannot be run here", str(error))
    found = f"{choice.name}, {choice.threads} threads"
    if choice.measured is None:
        return warn("engine", found, choice.reason)
    return ok("engine", f"{found}: {choice.reason}")


def camera(source: Source, config: Config) -> tuple[Check, ...]:
    """Whether the source delivers a frame, and which regions are too small in it.

    Opens the source, reads one frame, and closes it.
    """
    policy = CapturePolicy.from_config(config)
    policy.aim(source)
    try:
        source.open()
        frame = source.read()
    except EdgeAgentError as error:
        return (fail("camera", source.description, f"{error}; a running agent may be using it"),)
    finally:
        source.close()
    if frame is None:
        return (fail("camera", source.description, "it has no frame: the folder or the file is empty"),)
    height, width = frame.pixels.shape[:2]
    found = ok("camera", f"{source.description}: {width}x{height} in {frame.capture_ms:.0f} ms")
    return found, *_small_regions(policy.turned(frame), config)


def _small_regions(frame: Frame, config: Config) -> Iterator[Check]:
    """Those that have too few pixels in a frame, which is turned."""
    for name, region in config.regions.items():
        part = Part(region).of(frame)
        if part is not None and has_few(part.pixels):
            yield warn(f"region {name}", size_of(part.pixels), remedy(name, config.source.type))


def broker(config: Config, clock: Clock, environment: Mapping[str, str]) -> Check:
    """Whether the broker accepts the agent. Connects under another client id, so as not to disturb it."""
    try:
        probes = probe(config.mqtt, config.device_id, clock, environment=environment)
    except EdgeAgentError as error:
        hosts = ", ".join(config.mqtt.hosts) or config.mqtt.host
        return fail("broker", f"{hosts}: the connection cannot be set up", str(error))
    failed = [each for each in probes if each.trouble is not None]
    if failed:
        detail = "; ".join(f"{each.address}: {each.trouble} ({each.detail})" for each in failed)
        # With another broker left the agent works, and nobody would notice before that one fails, too.
        judge = fail if len(failed) == len(probes) else warn
        return judge("broker", detail, "; ".join(dict.fromkeys(each.remedy for each in failed)))
    return ok("broker", "; ".join(each.detail for each in probes))
