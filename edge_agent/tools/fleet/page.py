"""The fleet as a page with filter and sort, as JSON, and as metrics for Prometheus."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from edge_agent.system.exposition import heading, labelled
from edge_agent.tools.fleet.devices import Device

MOST_ROWS = 500
"""So many devices are on one page; the filter finds the others."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for."""

    words: str = ""
    """A row has all of them."""
    sort: str = "device"
    """A column's key; `-key` is downwards."""
    renew: bool = False
    """Whether the page loads itself again."""

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> Query:
        """From the parameters of an address."""
        return cls(asked.get("q", ""), asked.get("sort", "device"), asked.get("renew") == "1")

    @property
    def address(self) -> str:
        """The same as an address."""
        renew = "&renew=1" if self.renew else ""
        return f"?q={quote(self.words)}&sort={quote(self.sort)}{renew}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table."""

    key: str
    title: str
    value: Callable[[Device, float], str | float | None]
    """What is sorted by; takes the device and the time in seconds since 1970."""
    digits: int = 0


COLUMNS = (
    Column("device", "device", lambda device, _: device.name),
    Column("there", "there", lambda device, now_s: "yes" if device.is_there(now_s) else "no"),
    Column("age", "health, s ago", lambda device, now_s: device.age_s(now_s)),
    Column("label", "label", lambda device, _: device.label),
    Column("unknown", "unknown, %", lambda device, _: device.unknown_percent, 1),
    Column("memory", "memory, MB", lambda device, _: device.memory_mb),
    Column("temperature", "temperature, C", lambda device, _: device.temperature_c, 1),
    Column("camera", "camera", lambda device, _: device.camera),
    Column("version", "version", lambda device, _: device.version),
    Column("model", "model", lambda device, _: device.model),
    Column("groups", "groups", lambda device, _: ", ".join(f"{group} {has}" for group, has in device.groups)),
    Column("refused", "refused", lambda device, _: device.refused),
)
_BY_KEY = {column.key: column for column in COLUMNS}

_PREFIX = "edge_agent_fleet_"
_Gauge = tuple[str, str, Callable[[Device], float | None]]
_STYLE = (
    "body{font:14px sans-serif;margin:1em}table{border-collapse:collapse}td,th{padding:.2em .6em;"
    "border-bottom:1px solid #ccc;text-align:left}tr.gone{color:#a00}"
    "[aria-sort=ascending]::after{content:' \\2191'}[aria-sort=descending]::after{content:' \\2193'}"
)


def chosen(devices: Iterable[Device], query: Query, now_s: float) -> list[Device]:
    """The devices that are asked for, in the order that is asked for."""
    wanted = query.words.lower().split()
    found = [device for device in devices if all(word in _row_text(device, now_s) for word in wanted)]
    column = _BY_KEY.get(query.sort.removeprefix("-"), COLUMNS[0])
    found.sort(key=lambda device: device.name)
    found.sort(key=lambda device: _sort_key(column.value(device, now_s)), reverse=query.sort.startswith("-"))
    return found


def page(devices: Iterable[Device], query: Query, now_s: float) -> str:
    """The page, which needs no script."""
    rows = chosen(devices, query, now_s)
    there = sum(device.is_there(now_s) for device in rows)
    heads = "".join(_head(column, query) for column in COLUMNS)
    body = "".join(_row(device, now_s) for device in rows[:MOST_ROWS])
    more = f", the first {MOST_ROWS} shown" if len(rows) > MOST_ROWS else ""
    renew = '<meta http-equiv="refresh" content="30">' if query.renew else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">{renew}'
        f"<title>edge-agent fleet</title><style>{_STYLE}</style></head><body><main><h1>Devices</h1>"
        f"{_form(query)}<p>{there} of {len(rows)} devices are there{more}.</p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></main></body></html>"
    )


def devices_json(devices: Iterable[Device], query: Query, now_s: float) -> str:
    """The same rows as JSON, all of them."""
    rows = [
        {column.key: column.value(device, now_s) for column in COLUMNS}
        for device in chosen(devices, query, now_s)
    ]
    return json.dumps({"schema": 1, "devices": rows})


def metrics(devices: Sequence[Device], counts: Mapping[str, int], now_s: float) -> str:
    """Prometheus's text format. What a device has not said has no sample."""
    gauges: tuple[_Gauge, ...] = (
        ("health_age_s", "Seconds since the latest health.", lambda device: device.age_s(now_s)),
        ("up", "1 where the health is recent.", lambda device: float(device.is_there(now_s))),
        ("unknown_percent", "Share of frames with the label unknown.", lambda device: device.unknown_percent),
        ("memory_rss_mb", "Resident memory.", lambda device: device.memory_mb),
        ("temperature_c", "Temperature of the board.", lambda device: device.temperature_c),
        ("uptime_s", "Seconds since the agent's start.", lambda device: device.uptime_s),
        ("queued_events", "Events that wait for a broker.", lambda device: _float(device.queued_events)),
        (
            "refuses",
            "1 where something of its groups' state is refused.",
            lambda device: float(bool(device.refused)),
        ),
    )
    return "".join(_samples(gauges, devices, counts))


def _samples(gauges: Sequence[_Gauge], devices: Sequence[Device], counts: Mapping[str, int]) -> Iterator[str]:
    for name, text, value in gauges:
        yield heading(f"{_PREFIX}{name}", "gauge", text)
        for device in devices:
            if (found := value(device)) is not None:
                yield f"{_PREFIX}{name}{labelled({'device': device.name})} {found:g}\n"
    yield heading(f"{_PREFIX}info", "gauge", "Version and model.")
    for each in devices:
        labels = {"device": each.name, "version": each.version, "model": each.model}
        yield f"{_PREFIX}info{labelled(labels)} 1\n"
    for name, count in counts.items():
        text = f"{name.capitalize()} that this instance has handled."
        yield f"{heading(f'{_PREFIX}{name}_total', 'counter', text)}{_PREFIX}{name}_total {count}\n"


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)


def _row_text(device: Device, now_s: float) -> str:
    return " ".join(str(column.value(device, now_s)) for column in COLUMNS).lower()


def _sort_key(value: str | float | None) -> tuple[int, float, str]:
    if value is None:
        return (0, 0.0, "")
    return (2, 0.0, value) if isinstance(value, str) else (1, value, "")


def _form(query: Query) -> str:
    checked = " checked" if query.renew else ""
    return (
        f'<form><label>Filter <input name="q" value="{html.escape(query.words)}"></label> '
        f'<input type="hidden" name="sort" value="{html.escape(query.sort)}">'
        f'<label><input type="checkbox" name="renew" value="1"{checked}> load again every 30 s</label> '
        "<button>Show</button></form>"
    )


def _head(column: Column, query: Query) -> str:
    """A click sorts by the column; a second one turns the order."""
    is_up, is_down = query.sort == column.key, query.sort == f"-{column.key}"
    target = replace(query, sort=f"-{column.key}" if is_up else column.key).address
    order = ' aria-sort="ascending"' if is_up else ' aria-sort="descending"' if is_down else ""
    return f'<th scope="col"{order}><a href="{html.escape(target)}">{html.escape(column.title)}</a></th>'


def _row(device: Device, now_s: float) -> str:
    cells = "".join(f"<td>{html.escape(_shown(column, device, now_s))}</td>" for column in COLUMNS)
    gone = "" if device.is_there(now_s) else ' class="gone"'
    return f"<tr{gone}>{cells}</tr>"


def _shown(column: Column, device: Device, now_s: float) -> str:
    value = column.value(device, now_s)
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.{column.digits}f}"
