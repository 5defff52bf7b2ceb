"""Where the URL of a network camera leads, and what is said of one that leads nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.address import RtspUrlError, rtsp_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("rtsp://camera", ("camera", 554)),
        ("rtsps://camera", ("camera", 322)),
        ("RTSP://camera:8554/live", ("camera", 8554)),
        ("rtsp://me:p%40ss@10.0.0.2/live", ("10.0.0.2", 554)),
        ("rtsp://me:p@ss@10.0.0.2/live", ("10.0.0.2", 554)),
        ("rtsp://camera?user=me&password=x:y", ("camera", 554)),
        ("rtsp://me:x@[fe80::1]:8554/", ("fe80::1", 8554)),
        ("rtsp://[fe80::1]", ("fe80::1", 554)),
    ],
)
def test_host_and_port_are_found(url: str, address: tuple[str, int]) -> None:
    assert rtsp_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "rtsp",
        "camera",
        "rtsp://",
        "rtsp://[]",
        "rtsp://[::1",
        "rtsp://[::1]x:5",
        "rtsp://h:0",
        "rtsp://h:\uff11",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(RtspUrlError):
        rtsp_address(url)


@given(st.text("ab:[]1% ", min_size=1).map(lambda text: f"Zq{text}qZ"))
def test_no_password_is_repeated(password: str) -> None:
    for url in (password, f"rtsp://me:{password}@/live", f"rtsp://me:{password}@host:x"):
        with pytest.raises(RtspUrlError) as refused:
            rtsp_address(url)
        assert password not in str(refused.value)
