"""Where the password comes from, and that TLS is always checked."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from edge_agent.config.schema import MqttConfig, TlsConfig
from edge_agent.mqtt.wire.credentials import address, password, tls_context
from edge_agent.mqtt.wire.status import BrokerConnectionError, Trouble
from edge_agent.system.secret import Secret
from tests.mqtt.wire.certificates import Authority


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        (MqttConfig(host="broker"), "broker:1883"),
        (MqttConfig(host="fe80::1", tls=TlsConfig(enabled=True)), "[fe80::1]:8883"),
    ],
)
def test_the_address_is_host_and_port_as_in_a_url(config: MqttConfig, shown: str) -> None:
    assert address(config) == shown


class TestTlsContext:
    """No setting turns the checks off."""

    def test_the_certificate_is_checked_whatever_the_settings(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path, "ca")
        for config in (TlsConfig(enabled=True), TlsConfig(enabled=True, ca_file=authority.file)):
            context = tls_context(config)
            assert context.verify_mode is ssl.CERT_REQUIRED
            assert context.check_hostname
            assert context.minimum_version >= ssl.TLSVersion.TLSv1_2

    def test_a_file_that_is_missing_or_no_certificate_is_named(self, tmp_path: Path) -> None:
        junk = tmp_path / "junk.pem"
        junk.write_text("not a certificate")
        for broken in (tmp_path / "absent.pem", junk):
            with pytest.raises(BrokerConnectionError, match=rf"mqtt\.tls\.ca_file {broken}"):
                tls_context(TlsConfig(enabled=True, ca_file=broken))
            with pytest.raises(BrokerConnectionError, match=rf"mqtt\.tls\.cert_file {broken}"):
                tls_context(TlsConfig(enabled=True, cert_file=broken))


class TestPassword:
    """Where the password is taken from."""

    def test_the_configuration_itself(self) -> None:
        assert password(MqttConfig(password=Secret("a b")), {}) == "a b"

    def test_a_file_comes_first_and_its_last_newline_does_not_count(self, tmp_path: Path) -> None:
        file = tmp_path / "pw"
        file.write_text(" s3cret \n")
        config = MqttConfig(password=Secret("other"), password_file=file)
        assert password(config, {"CREDENTIALS_DIRECTORY": "/nowhere"}) == " s3cret "

    def test_a_bare_name_is_a_systemd_credential(self, tmp_path: Path) -> None:
        (tmp_path / "mqtt-password").write_text("s3cret\n")
        config = MqttConfig(password_file=Path("mqtt-password"))
        assert password(config, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "s3cret"

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(BrokerConnectionError, match=f"{tmp_path}/absent: No such file") as raised:
            password(MqttConfig(password_file=tmp_path / "absent"), {})
        assert raised.value.trouble is Trouble.LOCAL

    @pytest.mark.parametrize("environment", [{}, {"CREDENTIALS_DIRECTORY": "/nowhere"}])
    def test_a_password_that_stands_where_its_file_should_is_not_repeated(
        self, environment: dict[str, str]
    ) -> None:
        with pytest.raises(BrokerConnectionError, match="No such file") as raised:
            password(MqttConfig(password_file=Path("Hunter2-Zq77")), environment)
        assert "belongs into mqtt.password" in str(raised.value)
        assert "Hunter2" not in str(raised.value) + raised.value.detail

    @pytest.mark.parametrize(
        "content", [b"\xef\xbb\xbfs\xc3\xa9cret\r\n", b"s\xc3\xa9cret"], ids=["byte order mark", "none"]
    )
    def test_a_byte_order_mark_does_not_count(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "pw").write_bytes(content)
        assert password(MqttConfig(password_file=tmp_path / "pw"), {}) == "s\xe9cret"

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("s3cret".encode("utf-16"), "is not UTF-8: it looks like UTF-16, so save it again as UTF-8"),
            ("s3cret".encode("utf-16-le"), "is not UTF-8: it looks like UTF-16"),
            ("s3cret".encode("utf-16-be"), "is not UTF-8: it looks like UTF-16"),
            ("s\xe9cret".encode("latin-1"), "is not UTF-8: save it again as UTF-8"),
            (b"s3cret " * 100_000, "holds more than 65535 bytes"),
        ],
    )
    def test_a_file_that_is_no_text_is_named_and_not_shown(
        self, tmp_path: Path, content: bytes, said: str
    ) -> None:
        (tmp_path / "pw").write_bytes(content)
        with pytest.raises(
            BrokerConnectionError, match=rf"mqtt\.password_file {tmp_path}/pw {said}"
        ) as raised:
            password(MqttConfig(password_file=tmp_path / "pw"), {})
        assert raised.value.trouble is Trouble.LOCAL
        assert "cret" not in str(raised.value)
