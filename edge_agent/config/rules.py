"""Checks that settings go together and that the files they name can be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config.address import AddressError, http_address, rtsp_address
from edge_agent.config.schema import Config

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a configuration breaks."""

    keys: tuple[str, ...]
    """The settings concerned; the first is the one to change."""
    message: str
    hint: str = ""


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


def labels_can_appear(config: Config) -> Iterator[Violation]:
    """No name is reserved, and no allowed label is renamed away."""
    renamed, allow = config.labels.map, config.labels.allow
    for old, new in renamed.items():
        if not new or new == UNKNOWN:
            message = f"'{old}' cannot be renamed to '{new}'" + (", which is reserved" if new else "")
            yield Violation(("labels.map",), message, "leave a label out of labels.allow to make it unknown")
    for label in allow:
        if label in renamed and label not in renamed.values():
            message = f"'{label}' never appears: labels.map renames it to '{renamed[label]}'"
            yield Violation(("labels.allow", "labels.map"), message, f"allow '{renamed[label]}'")


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
        yield from _readable("mqtt.password_file", mqtt.password_file)


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


RULES: tuple[Rule, ...] = (
    source_is_complete,
    rtsp_url_is_usable,
    http_camera_is_usable,
    sizes_agree,
    ranges_agree,
    labels_can_appear,
    credentials_are_complete,
    tls_files_are_usable,
)


def _not_above(keys: tuple[str, str], lower: float, upper: float) -> Iterator[Violation]:
    if lower > upper:
        yield Violation(keys, f"must not be above {keys[1].rpartition('.')[2]} ({lower} > {upper})")


def _required_path(
    key: str, path: Path | None, exists: Callable[[Path], bool], kind: str
) -> Iterator[Violation]:
    if path is None:
        yield Violation((key, "source.type"), f"must be set, since source.type is {kind}")
    elif not exists(path):
        yield Violation((key,), f"{path} is not a {kind}" if path.exists() else f"{path} does not exist")


def _readable(key: str, path: Path) -> Iterator[Violation]:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        yield Violation((key,), f"{path} cannot be read: {error.strerror}")


def _holds_key(path: Path) -> bool:
    try:
        return b"PRIVATE KEY-----" in path.read_bytes()
    except OSError:
        return True  # reported as unreadable
