"""Rules between settings, and about the files that they name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.config.loader import load, parse
from edge_agent.config.problem import InvalidConfigError, Problem
from edge_agent.config.schema import Config, PeriodConfig
from tests.config.conftest import only
from tests.config.samples import obeys_rules

Write = Callable[[str], Path]


def problems(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(InvalidConfigError) as caught:
        load(path)
    return caught.value.problems


def test_the_defaults_break_no_rule() -> None:
    assert obeys_rules(Config())


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("stabilizer:\n  votes: 4\n", 2, "stabilizer.votes", "must not be above window (4 > 3)"),
        ("stabilizer:\n  window: 1\n", 2, "stabilizer.votes", "must not be above window (2 > 1)"),
        (
            "stabilizer:\n  hysteresis: 0.4\n  threshold: 0.3\n",
            2,
            "stabilizer.hysteresis",
            "must not be above threshold (0.4 > 0.3)",
        ),
        (
            "labels:\n  thresholds: {cat: 0.8, dog: 0.02}\n",
            2,
            "labels.thresholds",
            "'dog' must not be below stabilizer.hysteresis (0.02 < 0.05)",
        ),
        (
            "source:\n  reopen_max_s: 5\n  reopen_min_s: 6\n",
            3,
            "source.reopen_min_s",
            "must not be above reopen_max_s (6.0 > 5.0)",
        ),
        (
            "thermal:\n  calm_below_c: 80\n",
            2,
            "thermal.calm_below_c",
            "must not be above slow_above_c (80.0 > 75.0)",
        ),
        (
            "mqtt:\n  reconnect_min_s: 2\n  reconnect_max_s: 1\n",
            2,
            "mqtt.reconnect_min_s",
            "must not be above reconnect_max_s (2.0 > 1.0)",
        ),
        (
            "source:\n  picamera2:\n    width: 128\n",
            3,
            "source.picamera2.lores_width",
            "must not be above width (320 > 128)",
        ),
        (
            "source:\n  picamera2:\n    height: 128\n",
            3,
            "source.picamera2.lores_height",
            "must not be above height (240 > 128)",
        ),
        ("model:\n  path: ''\n", 2, "model.path", "must be set"),
        ("source:\n  type: rtsp\n", 2, "source.rtsp.url", "must be set, since source.type is rtsp"),
        ("source:\n  type: http\n", 2, "source.http.url", "must be set, since source.type is http"),
        ("source:\n  type: folder\n", 2, "source.folder.path", "must be set, since source.type is folder"),
        ("source:\n  type: file\n", 2, "source.file.path", "must be set, since source.type is file"),
        ("mqtt:\n  password: x\n", 2, "mqtt.username", "must be set, since mqtt.password is"),
        ("mqtt:\n  password_file: x\n", 2, "mqtt.username", "must be set, since mqtt.password_file is"),
        (
            "mqtt:\n  username: me\n  password: x\n  password_file: x\n",
            3,
            "mqtt.password",
            "is set, and so is mqtt.password_file",
        ),
        (
            "labels:\n  map: {tabby: unknown}\n",
            2,
            "labels.map",
            "'tabby' cannot be renamed to 'unknown', which is reserved",
        ),
        ("labels:\n  map: {tabby: }\n", 2, "labels.map", "'tabby' cannot be renamed to ''"),
        (
            "labels:\n  map: {tabby: cat}\n  allow: [tabby]\n",
            3,
            "labels.allow",
            "'tabby' never appears: labels.map renames it to 'cat'",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_reported_at_the_one_to_change(
    write: Write, text: str, line: int, key: str, message: str
) -> None:
    found = only(problems(write(text)))
    assert (found.line, found.key, found.message) == (line, key, message)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (
            "{allow: [cat], deny: [cat]}",
            "labels.deny: 'cat' is allowed as well (remove it",
        ),
        ("{map: {tabby: cat}, deny: [tabby]}", "labels.deny: 'tabby' never appears"),
        ("{map: {tabby: cat}, thresholds: {tabby: 0.5}}", "labels.thresholds: 'tabby' never appears"),
        ("{thresholds: {cat: 0.01}}", "labels.thresholds: 'cat' must not be below stabilizer.hysteresis"),
        ("{thresholds: {cat: 1.5}}", "labels.thresholds.cat: must be 0 to 1, not 1.5"),
        ("{thresholds: {cat: high}}", "labels.thresholds.cat: must be a number"),
    ],
)
def test_what_is_said_of_a_label_must_agree(write: Write, labels: str, problem: str) -> None:
    with pytest.raises(InvalidConfigError) as refused:
        load(write(f"labels: {labels}"))
    assert problem in refused.value.details
    assert "cat" not in str(refused.value)


def test_a_label_that_another_one_is_renamed_to_may_be_allowed(write: Write) -> None:
    text = "labels: {map: {cat: dog, dog: cat}, allow: [cat]}"
    assert load(write(text)).labels.allow == ("cat",)


def test_no_rule_is_checked_on_a_value_that_is_wrong_itself(write: Write) -> None:
    found = only(problems(write("stabilizer: {votes: 5, window: few}\n")))
    assert found.key == "stabilizer.window"


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("folder", "gone", "gone does not exist"),
        ("folder", "edge-agent.yaml", "edge-agent.yaml is not a folder"),
        ("file", "gone.mp4", "gone.mp4 does not exist"),
        ("file", ".", "is not a file"),
    ],
)
def test_a_source_that_is_not_there_is_named(write: Write, kind: str, path: str, message: str) -> None:
    found = only(problems(write(f"source:\n  type: {kind}\n  {kind}:\n    path: {path}\n")))
    assert (found.line, found.key) == (4, f"source.{kind}.path")
    assert found.message.endswith(message)


def test_the_path_of_a_source_that_is_not_used_need_not_exist(write: Write) -> None:
    assert load(write("source: {type: v4l2, folder: {path: /gone}}")).source.type == "v4l2"


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://camera",
        "rtsp://camera/live?a=b",
        "RTSP://camera:8554/live",
        "rtsps://me:p%40ss@10.0.0.2:322/live",
        "rtsp://[fe80::1]/live",
        "rtsp://[fe80::1]:8554/live",
        "rtsp://me:secret@[fe80::1]:8554",
    ],
)
def test_an_rtsp_url_is_accepted(write: Write, url: str) -> None:
    assert load(write(f"source: {{type: rtsp, rtsp: {{url: '{url}'}}}}")).source.rtsp.url == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("camera/live", "must begin with rtsp:// or rtsps://"),
        ("http://camera/live", "must begin with rtsp:// or rtsps://"),
        ("rtsp:///live", "names no host"),
        ("rtsp://me:secret@/live", "names no host"),
        ("rtsp://:554/live", "names no host"),
        ("rtsp://camera:/live", "has something other than a port number behind its host"),
        ("rtsp://camera:99999/live", "has something other than a port number behind its host"),
        ("rtsp://me:sec/ret@camera/live", "holds an @ behind a / or a ?"),
    ],
)
def test_an_rtsp_url_that_cannot_work_is_refused_unshown(write: Write, url: str, message: str) -> None:
    path = write(f"source:\n  rtsp:\n    url: '{url}'\n")
    found = only(problems(path))
    assert (found.line, found.key, found.message) == (3, "source.rtsp.url", message)
    assert url not in found.describe(str(path))


def test_an_rtsp_url_of_nothing_else_is_refused(write: Write) -> None:
    assert only(problems(write("source: {rtsp: {url: 'rtsp://'}}"))).message == "names no host"


def test_a_password_file_must_be_readable(write: Write, tmp_path: Path) -> None:
    text = "mqtt: {username: me, password_file: ./secret}"
    # The file is not named: a hasty owner writes the password itself here.
    assert only(problems(write(text))).message == "cannot be read: No such file or directory"
    (tmp_path / "secret").write_text("hunter2")
    assert load(write(text)).mqtt.password_file == tmp_path / "secret"


def test_a_bare_password_file_is_a_credential_that_only_the_service_can_see(write: Write) -> None:
    config = load(write("mqtt: {username: me, password_file: mqtt-password}"))
    assert config.mqtt.password_file == Path("mqtt-password")


def test_tls_files_must_be_readable(write: Write) -> None:
    text = (
        "mqtt:\n  tls:\n    enabled: true\n    ca_file: ca.pem\n    cert_file: c.pem\n    key_file: k.pem\n"
    )
    found = problems(write(text))
    assert [(one.line, one.key) for one in found] == [
        (4, "mqtt.tls.ca_file"),
        (5, "mqtt.tls.cert_file"),
        (6, "mqtt.tls.key_file"),
    ]
    assert all("No such file or directory" in one.message for one in found)


def test_tls_files_without_tls_would_leave_the_connection_open_to_all(write: Write, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("CA")
    found = only(problems(write("mqtt:\n  tls:\n    ca_file: ca.pem\n")))
    assert (found.line, found.key) == (3, "mqtt.tls.enabled")
    assert found.message == "is false, although mqtt.tls.ca_file is set"


def test_a_key_needs_its_certificate(write: Write, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----")
    found = only(problems(write("mqtt: {tls: {enabled: true, key_file: key.pem}}")))
    assert found.key == "mqtt.tls.cert_file"


def test_a_certificate_needs_its_key_unless_it_holds_it(write: Write, tmp_path: Path) -> None:
    text = "mqtt: {tls: {enabled: true, cert_file: both.pem}}"
    (tmp_path / "both.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    assert only(problems(write(text))).key == "mqtt.tls.key_file"
    (tmp_path / "both.pem").write_text("-----BEGIN CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\n")
    assert load(write(text)).mqtt.tls.cert_file == tmp_path / "both.pem"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rtsp://camera/live", "must begin with http:// or https://"),
        ("http:///live", "names no host"),
        ("https://me:p#ss@camera/live", "holds a #"),
        ("http://camera:99999/live", "has something other than a port number behind its host"),
    ],
)
def test_an_http_url_that_cannot_work_is_refused_unshown(write: Write, url: str, message: str) -> None:
    found = only(problems(write(f"source:\n  http:\n    url: '{url}'\n")))
    assert (found.line, found.key, found.message) == (3, "source.http.url", message)


def test_the_authority_of_a_camera_must_be_readable(write: Write) -> None:
    found = only(problems(write("source:\n  http:\n    ca_file: gone.crt\n")))
    assert (found.line, found.key) == (3, "source.http.ca_file")
    assert found.message.endswith("gone.crt cannot be read: No such file or directory")


def test_the_authority_of_the_server_of_models_can_be_read(write: Write) -> None:
    found = only(problems(write("control:\n  model_ca_file: gone.crt\n")))
    assert (found.line, found.key) == (2, "control.model_ca_file")


def test_a_device_or_a_pipe_is_no_password_file(tmp_path: Path) -> None:
    """A device would be read without end, and a pipe would keep the agent waiting for its writer."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (Path("/dev/zero"), pipe):
        with pytest.raises(InvalidConfigError, match=r"mqtt\.password_file: .*no regular file"):
            parse(f"mqtt: {{password_file: {path}}}", "edge-agent.yaml", hostname="pi")


@pytest.mark.parametrize(
    ("periods", "problem"),
    [
        ("{always: {}}", "periods.always: is all the time"),
        ("{night: {hours: [25:00-26:00]}}", "periods.night.hours[0]: must be hours as 07:00-22:30"),
        ("{night: {light: dim}}", "periods.night.light: must be one of any, day, night"),
        ("{Night: {light: night}}", "periods.Night"),
        ("{" + ", ".join(f"p{n}: {{light: day}}" for n in range(5)) + "}", "periods: are 5; 4 at most"),
    ],
)
def test_a_period_that_is_none_is_refused(write: Write, periods: str, problem: str) -> None:
    (found,) = problems(write(f"periods: {periods}\n"))
    assert f"{found.key}: {found.message}".startswith(problem)


def test_periods_are_times_by_hours_or_by_light(write: Write) -> None:
    config = load(write("periods: {late: {hours: ['22:00-06:00']}, night: {light: night}}\n"))
    assert config.periods == {"late": PeriodConfig(("22:00-06:00",)), "night": PeriodConfig(light="night")}
