"""Checks that settings go together and that the files they name can be used."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_agent.config.address import (
    AddressError,
    broker_place,
    host_problem,
    http_address,
    listen_address,
    rtsp_address,
)
from edge_agent.config.schema import Config, RegionConfig
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.paths import WHOLE_FRAME

UNKNOWN = "unknown"
MOST_REGIONS = 16
MOST_CORNERS = 32
MOST_PERIODS = 4
_LEAST_SIDE = 0.001
_ROUNDING = 1e-6
_LONGEST_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a configuration breaks."""

    keys: tuple[str, ...]
    """The settings concerned; the first is the one to change."""
    message: str
    hint: str = ""
    public: str = ""
    """The message without values, where it quotes some."""


Rule = Callable[[Config], Iterator[Violation]]


def source_is_complete(config: Config) -> Iterator[Violation]:
    """The chosen source has what it needs."""
    source = config.source
    if source.type == "folder":
        yield from _required_path("source.folder.path", source.folder.path, Path.is_dir, "folder")
    elif source.type == "file":
        yield from _required_path("source.file.path", source.file.path, Path.is_file, "file")
    elif source.type == "rtsp" and not source.rtsp.url:
        keys = ("source.rtsp.url", "source.type")
        yield Violation(keys, "must be set, since source.type is rtsp", "rtsp://host:554/path")
    elif source.type == "http" and not source.http.url:
        keys = ("source.http.url", "source.type")
        yield Violation(keys, "must be set, since source.type is http", "http://host/path")


def rtsp_url_is_usable(config: Config) -> Iterator[Violation]:
    """The URL is one of RTSP."""
    try:
        if url := config.source.rtsp.url:
            rtsp_address(url)
    except AddressError as error:
        yield Violation(("source.rtsp.url",), error.problem, error.hint)


def http_camera_is_usable(config: Config) -> Iterator[Violation]:
    """The URL is one of HTTP, and the authority of its certificate can be read."""
    camera = config.source.http
    try:
        if camera.url:
            http_address(camera.url)
    except AddressError as error:
        yield Violation(("source.http.url",), error.problem, error.hint)
    if camera.ca_file:
        yield from _readable("source.http.ca_file", camera.ca_file)


def broker_host_is_usable(config: Config) -> Iterator[Violation]:
    """The names of brokers can be looked up."""
    if problem := host_problem(config.mqtt.host):
        yield Violation(("mqtt.host",), problem, "write a name or an address, without scheme and port")
    for text in config.mqtt.hosts:
        try:
            broker_place(text)
        except ValueError as error:
            hint = "write [broker1, broker2:8884], or [2001:db8::1]:8884 for an IPv6 address"
            yield Violation(("mqtt.hosts",), str(error), hint)


def sizes_agree(config: Config) -> Iterator[Violation]:
    """libcamera's `lores` stream cannot be larger than `main`."""
    camera = config.source.picamera2
    for side, lores, main in (
        ("width", camera.lores_width, camera.width),
        ("height", camera.lores_height, camera.height),
    ):
        keys = (f"source.picamera2.lores_{side}", f"source.picamera2.{side}")
        yield from _not_above(keys, lores, main)


def ranges_agree(config: Config) -> Iterator[Violation]:
    """No lower limit is above its upper one."""
    source, mqtt, stabilizer = config.source, config.mqtt, config.stabilizer
    keys = ("source.reopen_min_s", "source.reopen_max_s")
    yield from _not_above(keys, source.reopen_min_s, source.reopen_max_s)
    keys = ("mqtt.reconnect_min_s", "mqtt.reconnect_max_s")
    yield from _not_above(keys, mqtt.reconnect_min_s, mqtt.reconnect_max_s)
    yield from _not_above(("stabilizer.votes", "stabilizer.window"), stabilizer.votes, stabilizer.window)
    keys = ("stabilizer.hysteresis", "stabilizer.threshold")
    yield from _not_above(keys, stabilizer.hysteresis, stabilizer.threshold)
    keys = ("thermal.calm_below_c", "thermal.slow_above_c")
    yield from _not_above(keys, config.thermal.calm_below_c, config.thermal.slow_above_c)


def thresholds_leave_room(config: Config) -> Iterator[Violation]:
    """No label's own threshold is below the hysteresis: once published, it could never become unknown."""
    hysteresis = config.stabilizer.hysteresis
    for label, threshold in config.labels.thresholds.items():
        if threshold is not None and threshold < hysteresis:  # None: refused already
            problem = f"'{label}' must not be below stabilizer.hysteresis ({threshold} < {hysteresis})"
            hint = "else it would be kept whatever it scores: raise it, or lower stabilizer.hysteresis"
            public = f"holds a threshold below stabilizer.hysteresis ({hint})"
            yield Violation(("labels.thresholds", "stabilizer.hysteresis"), problem, hint, public)


def labels_can_appear(config: Config) -> Iterator[Violation]:
    """No name is reserved, no label is both allowed and denied, and none that is named is renamed away."""
    labels = config.labels
    for old, new in labels.map.items():
        if not new or new == UNKNOWN:
            message = f"'{old}' cannot be renamed to '{new}'" + (", which is reserved" if new else "")
            hint = "name it in labels.deny to publish the next best label"
            public = f"holds a name that cannot be used ({hint})"
            yield Violation(("labels.map",), message, hint, public)
    for label in labels.deny:
        if label in labels.allow:
            message, public = f"'{label}' is allowed as well", "holds a label that is allowed as well"
            yield Violation(("labels.deny", "labels.allow"), message, "remove it from one of the two", public)
    named = {"allow": labels.allow, "deny": labels.deny, "thresholds": tuple(labels.thresholds)}
    for key, names in named.items():
        for label in names:
            if label in labels.map and label not in labels.map.values():
                message = f"'{label}' never appears: labels.map renames it to '{labels.map[label]}'"
                hint = f"write '{labels.map[label]}'"
                public = "holds a label that never appears, since labels.map renames it"
                yield Violation((f"labels.{key}", "labels.map"), message, hint, public)


def credentials_are_complete(config: Config) -> Iterator[Violation]:
    """There is at most one password, and a user name with it."""
    mqtt = config.mqtt
    if mqtt.password and mqtt.password_file:
        keys = ("mqtt.password", "mqtt.password_file")
        yield Violation(keys, "is set, and so is mqtt.password_file", "keep only the file")
    given = "mqtt.password" if mqtt.password else "mqtt.password_file"
    if (mqtt.password or mqtt.password_file) and not mqtt.username:
        yield Violation(("mqtt.username", given), f"must be set, since {given} is")
    # A bare name is a credential of the service, which a shell does not see.
    if mqtt.password_file and len(mqtt.password_file.parts) > 1:
        # Where a file is meant, an owner in a hurry writes the password itself.
        yield from _readable("mqtt.password_file", mqtt.password_file, is_shown=False)


def tls_files_are_usable(config: Config) -> Iterator[Violation]:
    """Certificates are readable and come with their keys, and TLS is on where there are any."""
    tls = config.mqtt.tls
    files = {"ca_file": tls.ca_file, "cert_file": tls.cert_file, "key_file": tls.key_file}
    for name, path in files.items():
        if path:
            yield from _readable(f"mqtt.tls.{name}", path)
    given = next((name for name, path in files.items() if path), None)
    if given and not tls.enabled:
        keys = ("mqtt.tls.enabled", f"mqtt.tls.{given}")
        yield Violation(keys, f"is false, although mqtt.tls.{given} is set", "write `enabled: true`")
    if tls.key_file and not tls.cert_file:
        yield Violation(("mqtt.tls.cert_file", "mqtt.tls.key_file"), "must be set, since key_file is")
    if tls.cert_file and not tls.key_file and not _holds_key(tls.cert_file):
        keys = ("mqtt.tls.key_file", "mqtt.tls.cert_file")
        yield Violation(keys, "must be set, since cert_file holds no key")


def groups_have_a_key(config: Config) -> Iterator[Violation]:
    """Nothing is followed that is not signed."""
    if config.fleet.groups and not config.fleet.public_key:
        hint = "`edge-agent fleet key` makes a pair"
        yield Violation(("fleet.public_key", "fleet.groups"), "must be set, since fleet.groups is", hint)


def regions_are_boxes(config: Config) -> Iterator[Violation]:
    """Each region has an area within the picture; there are not too many, and no name is reserved."""
    if len(config.regions) > MOST_REGIONS:
        yield Violation(("regions",), f"are {len(config.regions)}; {MOST_REGIONS} at most can be watched")
    for name, region in config.regions.items():
        key = f"regions.{name}"
        if name == WHOLE_FRAME:
            hint = "give it another name"
            yield Violation((key, "regions"), f"is the name of the whole picture ({hint})", "", "is reserved")
        for setting, problem, hint in (*_box_problems(region.box), *_polygon_problems(region)):
            yield Violation((f"{key}.{setting}", key, "regions"), problem, hint)


def periods_are_times(config: Config) -> Iterator[Violation]:
    """Each period is some of the time, and there are not too many."""
    if len(config.periods) > MOST_PERIODS:
        yield Violation(("periods",), f"are {len(config.periods)}; {MOST_PERIODS} at most have a head")
    for name, period in config.periods.items():
        if not period.hours and period.light == "any":
            hint = "give it `hours`, or `light: night` or `day`"
            key = f"periods.{name}"
            yield Violation((key, f"{key}.hours", f"{key}.light", "periods"), "is all the time", hint)


def page_address_is_usable(config: Config) -> Iterator[Violation]:
    """The page's address is one, with a port that exists, and its names are names."""
    try:
        listen_address(config.web.listen)
    except AddressError as error:
        yield Violation(("web.listen",), error.problem, error.hint)
    for name in config.web.hosts:
        if host_problem(name) or not name:
            hint = "write the name alone, as camera.example, without scheme, port and path"
            yield Violation(("web.hosts",), f"'{name}' is no name", hint, f"holds what is no name ({hint})")


def model_server_can_be_checked(config: Config) -> Iterator[Violation]:
    """The authority of the server that models come from can be read."""
    if config.control.model_ca_file:
        yield from _readable("control.model_ca_file", config.control.model_ca_file)


RULES: tuple[Rule, ...] = (
    source_is_complete,
    rtsp_url_is_usable,
    http_camera_is_usable,
    broker_host_is_usable,
    sizes_agree,
    ranges_agree,
    thresholds_leave_room,
    labels_can_appear,
    regions_are_boxes,
    periods_are_times,
    credentials_are_complete,
    tls_files_are_usable,
    page_address_is_usable,
    groups_have_a_key,
    model_server_can_be_checked,
)


def _box_problems(box: tuple[float, ...]) -> Iterator[tuple[str, str, str]]:
    if len(box) != 4:
        yield "box", f"must be four numbers, [left, top, width, height], not {len(box)}", ""
        return
    left, top, width, height = box
    if min(width, height) <= 0:
        yield "box", "must have a width and a height above 0", ""
    elif max(left + width, top + height) > 1 + _ROUNDING:
        yield "box", "reaches beyond the picture", "left + width and top + height are 1 at most"


def _polygon_problems(region: RegionConfig) -> Iterator[tuple[str, str, str]]:
    polygon = region.polygon
    if not polygon:
        return
    if region.box != RegionConfig().box:
        yield "polygon", "is set, and so is box", "remove one of them: a polygon's box is the one around it"
    if len(polygon) % 2 or not 3 <= len(polygon) // 2 <= MOST_CORNERS:
        problem = f"must be the x and y of 3 to {MOST_CORNERS} corners, not {len(polygon)} numbers"
        yield "polygon", problem, ""
    elif min(max(side) - min(side) for side in (polygon[::2], polygon[1::2])) < _LEAST_SIDE:
        yield "polygon", "must have a width and a height above 0", ""


def _not_above(keys: tuple[str, str], lower: float, upper: float) -> Iterator[Violation]:
    if lower > upper:
        yield Violation(keys, f"must not be above {keys[1].rpartition('.')[2]} ({lower} > {upper})")


def _required_path(
    key: str, path: Path | None, exists: Callable[[Path], bool], kind: str
) -> Iterator[Violation]:
    if path is None:
        yield Violation((key, "source.type"), f"must be set, since source.type is {kind}")
    elif not _is_there(path, exists):
        problem = f"is not a {kind}" if _is_there(path, Path.exists) else "does not exist"
        yield Violation((key,), f"{path} {problem}", public=problem)


def _readable(key: str, path: Path, *, is_shown: bool = True) -> Iterator[Violation]:
    try:
        _beginning(path)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        yield Violation((key,), f"{path} {problem}" if is_shown else problem, public=problem)


def _is_there(path: Path, exists: Callable[[Path], bool]) -> bool:
    try:
        return exists(path)
    except OSError:  # a name that is too long, or a folder above it that we must not enter
        return False


def _holds_key(path: Path) -> bool:
    try:
        return b"PRIVATE KEY-----" in _beginning(path)
    except OSError:
        return True  # reported as unreadable


def _beginning(path: Path) -> bytes:
    """As much of a regular file as any key or password takes; a pipe would block, a device never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    with path.open("rb") as file:
        return file.read(_LONGEST_FILE_BYTES)
