"""The service protocol, against a real datagram socket; the watchdog's gate as a state machine."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from edge_agent.system.systemd import Notifier, WatchdogGate, watchdog_interval_s


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(5)

    def receive(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")


@pytest.fixture(params=["file", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "file" else f"@edge-agent-test{tmp_path}"


@pytest.fixture
def manager(address: str) -> Iterator[Manager]:
    manager = Manager(address)
    yield manager
    manager.socket.close()


def test_readiness_is_sent_with_its_status(manager: Manager, address: str) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    notifier.ready("2.0 fps, tabby")
    assert manager.receive() == ["READY=1", "STATUS=2.0 fps, tabby"]


def test_each_message_is_what_sd_notify_documents(manager: Manager, address: str) -> None:
    notifier = Notifier(address, clock_us=lambda: 1234567)
    notifier.watchdog()
    assert manager.receive() == ["WATCHDOG=1"]
    notifier.reloading()
    assert manager.receive() == ["RELOADING=1", "MONOTONIC_USEC=1234567"]
    notifier.stopping("stopping: asked to")
    assert manager.receive() == ["STOPPING=1", "STATUS=stopping: asked to"]
    notifier.extend_timeout(1.5)
    assert manager.receive() == ["EXTEND_TIMEOUT_USEC=1500000"]


@given(text=st.text(max_size=200))
def test_no_status_can_smuggle_in_another_assignment(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        manager = Manager(f"{directory}/notify")
        with manager.socket:
            Notifier(f"{directory}/notify").ready(text)
            lines = manager.receive()
    assert lines[0] == "READY=1"
    assert len(lines) <= 2
    assert all(line.startswith("STATUS=") for line in lines[1:])


def test_without_a_manager_nothing_is_sent_and_nothing_fails() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready()
    notifier.watchdog()
    notifier.close()


def test_an_address_that_is_no_unix_socket_counts_as_no_manager() -> None:
    Notifier("vsock:2:1234").ready()


def test_a_manager_that_went_away_is_survived(manager: Manager, address: str) -> None:
    notifier = Notifier(address)
    manager.socket.close()
    Path(address).unlink(missing_ok=True)
    notifier.watchdog()


def test_after_close_messages_go_nowhere(manager: Manager, address: str) -> None:
    notifier = Notifier(address)
    notifier.close()
    notifier.ready()
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.receive()


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "90000000"}, 90.0),
        ({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "77"}, 90.0),
        ({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "me"}, None),
    ],
)
def test_the_watchdog_interval_is_for_this_process_alone(
    environment: dict[str, str], interval_s: float | None
) -> None:
    assert watchdog_interval_s(environment, pid=77) == interval_s


def test_a_processed_frame_feeds_the_watchdog_once() -> None:
    gate = WatchdogGate()
    assert not gate.should_feed()
    gate.captured()
    assert not gate.should_feed()
    gate.processed()
    assert gate.should_feed()
    assert not gate.should_feed()


def test_a_source_that_is_being_reopened_keeps_the_agent_alive() -> None:
    gate = WatchdogGate()
    for _ in range(3):
        gate.idle()
        assert gate.should_feed()


def test_a_capture_loop_that_hangs_starves_the_watchdog() -> None:
    gate = WatchdogGate()
    gate.captured()
    gate.processed()
    gate.should_feed()
    assert not gate.should_feed()


def test_a_classifier_that_hangs_starves_the_watchdog_although_the_source_is_idle() -> None:
    gate = WatchdogGate()
    gate.captured()
    gate.idle()
    assert not gate.should_feed()


def test_pausing_discards_the_frame_that_waited() -> None:
    gate = WatchdogGate()
    gate.captured()
    gate.discarded()
    gate.idle()
    assert gate.should_feed()


class GateMachine(RuleBasedStateMachine):
    """Any order of reports: fed exactly when a frame was processed, or idle with nothing left waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = WatchdogGate()
        self.since: list[str] = []
        self.waiting = False

    @rule(report=st.sampled_from(["captured", "processed", "discarded", "idle"]))
    def report(self, report: str) -> None:
        getattr(self.gate, report)()
        self.since.append(report)
        if report != "idle":
            self.waiting = report == "captured"

    @rule()
    def ask(self) -> None:
        expected = "processed" in self.since or ("idle" in self.since and not self.waiting)
        assert self.gate.should_feed() == expected
        self.since.clear()


test_the_gate_in_any_order_of_reports = GateMachine.TestCase
