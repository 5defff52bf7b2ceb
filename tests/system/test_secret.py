"""What is shown of a password, and of a URL with a password in it."""

from __future__ import annotations

import pytest
from hypothesis import example, given

from edge_agent.system.secret import Secret, SecretUrl
from tests.config.samples import secret_texts


@pytest.mark.parametrize(("secret", "shown"), [(Secret("hunter2"), "***"), (Secret(""), "")])
def test_nothing_of_a_password_is_shown(secret: Secret, shown: str) -> None:
    assert secret.shown() == shown
    assert repr(secret) == repr(shown)


@given(secret_texts(), secret_texts())
@example(user="admin", password="pa://ss")
def test_no_part_of_a_url_but_its_host_is_shown(user: str, password: str) -> None:
    for url in (
        f"rtsp://{user}:{password}@camera/{password}",
        f"rtsp://camera/user={user}_password={password}",
        f"rtsp://camera?user={user}&password={password}",
        f"{user}:{password}@camera",
    ):
        shown = SecretUrl(url).shown()
        assert user not in shown
        assert password not in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://camera", "rtsp://camera"),
        ("rtsp://camera:554/", "rtsp://camera:554/"),
        ("rtsp://camera:554/live", "rtsp://camera:554/***"),
        ("rtsp://me:x@camera:554/live?a=b", "rtsp://***@camera:554/***"),
        ("rtsp://me:x@y@camera/live", "rtsp://***@camera/***"),
        ("rtsp://me:x/y@camera/live", "rtsp://***"),
        ("rtsp://camera?password=x", "rtsp://camera/***"),
        ("rtsp://[fe80::1]:554/live", "rtsp://[fe80::1]:554/***"),
        ("nonsense", "***"),
        ("", ""),
    ],
)
def test_the_host_of_a_url_is_shown(url: str, shown: str) -> None:
    assert SecretUrl(url).shown() == shown
    assert repr(SecretUrl(url)) == repr(shown)
