"""What Prometheus reads: the figures of `health` and the present label, in its text format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge_agent.mqtt.contract.payloads import Health, Info, State
from edge_agent.system.exposition import heading, labelled

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_MB = 1 << 20


def exposition(states: Sequence[State], health: Health, info: Info) -> str:
    """Return the whole text. Labels and names come from outside: they are escaped as the format asks."""
    return "".join(_lines(states, health, info))


def _lines(states: Sequence[State], health: Health, info: Info) -> Iterator[str]:
    about = {"version": info.version, "model": info.model.name, "engine": info.engine.engine}
    yield from _metric(
        "info", "gauge", "What runs here.", (({**about, "precision": info.engine.precision}, 1),)
    )
    yield from _one("uptime_seconds", "gauge", "Since the agent was started.", health.uptime_s)
    yield from _memory(health)
    yield from _camera(health)
    mqtt, board = health.mqtt, health.board
    yield from _one("broker_connected", "gauge", "Whether the broker is connected.", mqtt.connected)
    yield from _one("messages_published_total", "counter", "Messages sent.", mqtt.published)
    yield from _one("messages_dropped_total", "counter", "Messages given up.", mqtt.dropped)
    yield from _one("events_waiting", "gauge", "Events that wait for the broker.", mqtt.queued_events)
    yield from _one("events_dropped_total", "counter", "Events lost.", mqtt.dropped_events)
    yield from _one("temperature_celsius", "gauge", "Of the CPU.", board.temperature_c)
    yield from _one("pace_ratio", "gauge", "Share of the usual rate of frames.", board.pace_percent / 100)
    yield from _one("throttled", "gauge", "Whether the firmware has slowed the CPU.", board.throttled)
    scores = [({"label": state.label, "region": state.region}, state.score) for state in states]
    yield from _metric("label_score", "gauge", "The present label, and its score.", scores)


def _memory(health: Health) -> Iterator[str]:
    memory = health.memory
    yield from _one("resident_memory_bytes", "gauge", "Of the agent.", memory.rss_mb * _MB)
    yield from _one("peak_memory_bytes", "gauge", "The most so far.", memory.peak_mb * _MB)
    yield from _one("memory_budget_bytes", "gauge", "memory.budget_mb.", memory.budget_mb * _MB)


def _camera(health: Health) -> Iterator[str]:
    camera, latency = health.camera, health.latency_ms
    yield from _one("camera_running", "gauge", "Whether frames come.", camera.state == "running")
    yield from _one("frames_captured_total", "counter", "Frames captured.", camera.frames)
    yield from _one("frames_dropped_total", "counter", "Replaced by a newer one.", camera.dropped)
    yield from _one("frames_skipped_total", "counter", "Of a still scene.", health.skipped)
    yield from _one("frames_unusable_total", "counter", "Not fit to be classified.", camera.unusable)
    yield from _one("camera_reopened_total", "counter", "How often it was reopened.", camera.reopened)
    yield from _one("frames_per_second", "gauge", "Frames classified a second.", health.fps)
    quantiles = ((0.5, latency.p50), (0.95, latency.p95))
    values = [({"quantile": str(share)}, ms / 1000) for share, ms in quantiles if ms is not None]
    yield from _metric("latency_seconds", "gauge", "From a frame's capture to its answer.", values)


def _one(name: str, kind: str, text: str, value: float | None) -> Iterator[str]:
    yield from _metric(name, kind, text, () if value is None else (({}, value),))


def _metric(name: str, kind: str, text: str, values: Sequence[tuple[dict[str, str], float]]) -> Iterator[str]:
    if not values:
        return
    whole = f"edge_agent_{name}"
    yield heading(whole, kind, text)
    for labels, value in values:
        number = f"{float(value):g}" if labels else f"{float(value)!r}"
        yield f"{whole}{labelled(labels)} {number}\n"
