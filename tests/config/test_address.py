"""Where a URL leads, and what is said of one that leads nowhere, or could be read in two ways."""

from __future__ import annotations

import contextlib
import string
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.address import (
    AddressError,
    broker_place,
    host_problem,
    network_address,
    rtsp_address,
)

HTTP_PORTS = {"http": 80, "https": 443}


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
        ("rtsp://[fe80::1%eth0]", ("fe80::1%eth0", 554)),
        ("rtsp://küche.home/live", ("küche.home", 554)),
        ("rtsp://cam_1.home.:99/live", ("cam_1.home.", 99)),
    ],
)
def test_host_and_port_are_found(url: str, address: tuple[str, int]) -> None:
    found = rtsp_address(url)
    assert (found.host, found.port) == address


def test_a_url_of_another_scheme_is_taken_apart_by_the_same_rules() -> None:
    found = network_address("HTTPS://me:p%23s%2Fs@camera/snap.jpg?size=1", HTTP_PORTS, "source.http.url")
    assert (found.scheme, found.host, found.port) == ("https", "camera", 443)
    assert (found.user, str(found.password), str(found.target)) == ("me", "p#s/s", "/snap.jpg?size=1")
    assert str(network_address("http://camera?a", HTTP_PORTS, "source.http.url").target) == "/?a"
    with pytest.raises(
        AddressError, match=r"source\.http\.url is no HTTP address: it must begin with http://"
    ):
        network_address("rtsp://camera", HTTP_PORTS, "source.http.url")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "rtsp",
        "camera",
        "rtsp:/camera",
        "rtsp\uff1a//camera",
        "rtsp://",
        "rtsp://[]",
        "rtsp://[::1",
        "rtsp://[::1]x:5",
        "rtsp://[camera]",
        "rtsp://[1:2]",
        "rtsp://fe80::1/live",
        "rtsp://h:0",
        "rtsp://h:65536",
        "rtsp://h:\uff11",
        "rtsp://300.1.1.1",
        "rtsp://a..b",
        f"rtsp://{'a' * 64}.home",
        f"rtsp://{'a.' * 130}home",
        "rtsp://\u201ccamera\u201d",
        "rtsp://came\u200bra",
        "rtsp://\uff43amera",
        "rtsp://c\u0430mera",  # with a Cyrillic a
        "rtsp://me:x@ca mera",
        "rtsp://me:x@camera/a b",
        "rtsp://me\\x@camera",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(AddressError):
        rtsp_address(url)


@pytest.mark.parametrize(
    ("password", "escape"),
    [
        ("p#ss", "%23 for #"),
        ("2024#Porch", "%23 for #"),
        ("p/ss", "%2F for /"),
        ("12/34", "%2F for /"),
        ("p@ss/word", "%40 for @"),
        ("p?ss", "%3F for ?"),
        ("1?2", "%3F for ?"),
        ("100%sure", "%25 for %"),
        ("p[ss", "%5B for ["),
        ("p]ss", "%5D for ]"),
        ("p ss", "%20 for a space"),
        ("p\\ss", "%5C for \\"),
    ],
)
def test_a_sign_that_must_be_escaped_in_a_password_is_named(password: str, escape: str) -> None:
    for url in (f"rtsp://admin:{password}@host/cam", f"rtsp://{password}@host", f"rtsp://{password}:x@host"):
        with pytest.raises(AddressError) as refused:
            rtsp_address(url)
        assert escape in refused.value.hint


@given(st.text(string.printable + "äß€", max_size=12), st.text(string.printable + "äß€", max_size=12))
def test_an_escaped_password_comes_back_as_it_was(user: str, password: str) -> None:
    if set(user + password) & set(string.whitespace) - {" "}:
        return
    found = rtsp_address(f"rtsp://{quote(user, safe='')}:{quote(password, safe='')}@host/cam")
    assert (found.host, found.user, str(found.password)) == ("host", user, password)


@given(st.text("ab:[]1%#/?@ \\", min_size=1).map(lambda text: f"Zq{text}qZ"))
def test_no_password_is_repeated(password: str) -> None:
    for url in (password, f"rtsp://me:{password}@/live", f"rtsp://me:{password}@host:x"):
        with pytest.raises(AddressError) as refused:
            rtsp_address(url)
        assert password not in str(refused.value)
        assert refused.value.__context__ is None


@given(st.text("ab:[]1%#/?@ \\", min_size=1).map(lambda text: f"rtsp://admin:Zq{text}@camera/live"))
def test_no_part_of_a_password_is_taken_for_the_host(url: str) -> None:
    with contextlib.suppress(AddressError):
        assert rtsp_address(url).host == "camera"


@given(st.text("ab:[]1%#/?@.-", max_size=20))
def test_another_reader_of_addresses_finds_the_same_host(text: str) -> None:
    url = f"rtsp://{text}"
    try:
        found = rtsp_address(url)
    except AddressError:
        return
    assert urlsplit(url).hostname == found.host


@pytest.mark.parametrize(
    "host", ["broker", "broker.home.", "10.0.0.2", "::1", "fe80::1%eth0", "_mqtt", "bücher.example", "東京"]
)
def test_names_and_addresses_that_can_be_looked_up_are_no_problem(host: str) -> None:
    assert host_problem(host) == ""


@given(st.text(max_size=80))
def test_a_host_without_a_problem_can_be_handed_to_the_resolver(host: str) -> None:
    if not host_problem(host):
        host.encode("idna" if ":" not in host else "ascii", errors="strict" if ":" not in host else "ignore")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("broker", ("broker", 0)),
        ("broker.home:1884", ("broker.home", 1884)),
        ("10.0.0.2:1", ("10.0.0.2", 1)),
        ("2001:db8::3", ("2001:db8::3", 0)),
        ("[2001:db8::3]", ("2001:db8::3", 0)),
        ("[2001:db8::3]:8884", ("2001:db8::3", 8884)),
    ],
)
def test_a_broker_is_a_host_with_or_without_a_port(text: str, place: tuple[str, int]) -> None:
    assert broker_place(text) == place


@pytest.mark.parametrize(
    "text",
    ["", ":1883", "broker:", "broker:0", "broker:65536", "[broker]:1883", "a..b", "::1:x", "[::1]1883"],
)
def test_what_is_no_broker_s_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"has|names"):
        broker_place(text)


@given(st.text(max_size=30))
def test_any_text_is_a_broker_s_place_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        host, port = broker_place(text)
        assert host_problem(host) == ""
        assert 0 <= port < 65536
