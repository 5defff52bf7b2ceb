"""Installation and service on a virtual Raspberry Pi: the tests follow each other on one board."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from tests.board.board import Board
from tests.board.service import BUDGET_MB, CONFIG_FILE, SOURCE, TOPICS, Service

BUNDLED = {"balloon", "chameleon", "espresso", "goldfish", "lorikeet", "space shuttle", "tripod"}


def test_a_clean_board_ends_with_a_label_at_a_subscriber(service: Service) -> None:
    assert "First label: " in service.install_output
    assert service.unit().active == "active"
    states = service.fresh_states(12)
    labels = {state["label"] for state in states}
    assert any(any(known in label.lower() for known in BUNDLED) for label in labels), labels
    assert all(state["model"]["engine"] == "xnnpack" for state in states)


def test_no_torch_was_installed(service: Service) -> None:
    assert not service.has_torch()


@pytest.mark.usefixtures("service")
def test_the_service_is_as_confined_as_intended(board: Board) -> None:
    board.run("systemd-analyze security --threshold=15 edge-agent.service >/dev/null")


def test_the_daemon_stays_within_its_budget(board: Board, service: Service) -> None:
    assert service.rss_mb() <= BUDGET_MB[board.cpu]
    health = service.received("health")[0]
    assert health["memory"]["cgroup_live"] is True


def test_status_tells_what_the_agent_does(service: Service) -> None:
    status = service.unit().status
    assert "fps" in status
    assert "RSS" in status
    assert "broker" in status


def test_installing_again_changes_nothing_and_ends_well(board: Board, service: Service) -> None:
    before = board.run(
        f"readlink /opt/edge-agent/current /var/lib/edge-agent/model; sha256sum {CONFIG_FILE}"
    ).stdout
    service.install()
    after = board.run(
        f"readlink /opt/edge-agent/current /var/lib/edge-agent/model; sha256sum {CONFIG_FILE}"
    ).stdout
    assert after == before
    assert "First label: " in service.install_output


@pytest.mark.parametrize(
    ("options", "arch"),
    [
        ("--arch efficientnet_lite0", "efficientnet_lite0"),
        ("--weights /root/{model}/torchscript-fp32.pt", "torchscript"),
    ],
    ids=["weights that are a package", "a TorchScript file"],
)
def test_a_model_is_built_on_the_board_without_torch(service: Service, options: str, arch: str) -> None:
    given = options.format(model=service.model.name)
    service.run_installer(f"{given} --offline /root/wheelhouse")
    sidecar = json.loads(service.read("/var/lib/edge-agent/model/model.json"))
    assert sidecar["arch"] == arch
    assert service.fresh_states()[0]["model"]["engine"] == "xnnpack"
    assert not service.has_torch()
    service.install()


def test_weights_that_cannot_be_downloaded_change_nothing(board: Board, service: Service) -> None:
    before = board.run("readlink /opt/edge-agent/current; readlink -f /var/lib/edge-agent/model").stdout
    done = service.run_installer("--arch resnet34 --offline /root/wheelhouse", check=False)
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert "the weights of resnet34 would be downloaded" in done.stderr
    after = board.run("readlink /opt/edge-agent/current; readlink -f /var/lib/edge-agent/model").stdout
    assert after == before


def test_a_killed_agent_is_back_and_counts_on(board: Board, service: Service) -> None:
    before = service.fresh_states()[0]["seq"]
    old = service.unit()
    seen = board.run(
        f"mosquitto_sub -t {TOPICS}/availability -R -C 1 -W 120 & sleep 5;"
        " systemctl kill --signal=KILL --kill-whom=main edge-agent; wait"
    ).stdout
    assert seen == "offline\n"
    new = service.wait_for("active")
    assert new.pid != old.pid
    assert new.restarts == old.restarts + 1
    assert service.received("availability") == ["online"]
    assert service.fresh_states()[0]["seq"] > before


def test_no_event_is_lost_when_the_agent_is_killed_while_the_broker_is_away(
    board: Board, service: Service
) -> None:
    """A durable session collects events. Each begins with the label that the one before it ended with: a
    lost one would break the chain, which only the restart itself may do, once."""
    subscribe = f"mosquitto_sub -t {TOPICS}/event -q 1 -i collector -c"
    board.run(f"{subscribe} -E")  # the session exists from now on
    board.run("systemctl stop mosquitto")
    board.run("sleep 20; systemctl kill --signal=KILL --kill-whom=main edge-agent")
    service.wait_for("active")
    board.run("systemctl start mosquitto")
    assert "online" in service.received("availability", 1, 600, "-R")  # the agent is connected again
    lines = board.run(f"{subscribe} -W 120 || true", timeout_s=300).stdout.splitlines()
    events = {event["seq"]: event for event in map(json.loads, lines)}
    chain = [events[seq] for seq in sorted(events)]
    assert len(chain) >= 2
    breaks = [later for earlier, later in pairwise(chain) if later["from"] != earlier["to"]]
    assert len(breaks) <= 1, breaks


@contextmanager
def wrong_configuration(service: Service) -> Iterator[None]:
    """The file has an error in it, which is mended afterwards."""
    good = service.read(CONFIG_FILE)
    service.write(CONFIG_FILE, good.replace("fps: 2", "fps: fast"))
    try:
        yield
    finally:
        service.write(CONFIG_FILE, good)


def test_a_wrong_edit_is_refused_and_the_agent_runs_on(board: Board, service: Service) -> None:
    pid = service.unit().pid
    with wrong_configuration(service):
        assert (
            board.run("systemctl reload edge-agent; sleep 10; systemctl is-active edge-agent").stdout
            == "active\n"
        )
        unit = service.unit()
        assert unit.pid == pid
        assert "fps" in service.journal(10)
        assert service.fresh_states()
    board.run("systemctl reload edge-agent")
    assert service.unit().pid == pid


def test_a_start_with_a_wrong_configuration_goes_on_with_the_last_good_one(
    board: Board, service: Service
) -> None:
    with wrong_configuration(service):
        board.run("systemctl restart edge-agent", check=False)
        service.wait_for("active")
        assert "fps" in service.received("info")[0]["config_error"]
        assert "configuration refused" in service.unit().status
        assert service.fresh_states()
    board.run("sleep 10")
    assert service.received("info")[0]["config_error"] == ""


def test_a_start_with_a_wrong_configuration_and_no_good_one_fails_at_once_and_says_the_line(
    board: Board, service: Service
) -> None:
    with wrong_configuration(service):
        board.run("rm /var/lib/edge-agent/last-good.yaml")
        board.run("systemctl restart edge-agent", check=False)
        unit = service.wait_for("failed")
        assert unit.exit_code == 2
        assert "edge-agent.yaml" in service.journal(10)
    board.run("systemctl reset-failed edge-agent; systemctl start edge-agent")
    service.wait_for("active")


def test_a_full_disk_neither_stops_it_nor_its_restart(board: Board, service: Service) -> None:
    try:
        board.run("fallocate -l $(($(stat -f -c '%f * %S' /))) /ballast 2>/dev/null || true")
        board.run("dd if=/dev/zero of=/ballast2 bs=4k 2>/dev/null || true", timeout_s=1200)
        assert board.run("df --output=avail / | tail -n 1").stdout.strip() == "0"
        assert service.fresh_states()
        board.run("systemctl kill --signal=KILL --kill-whom=main edge-agent; sleep 5")
        service.wait_for("active")
        assert service.fresh_states()
    finally:
        board.run("rm -f /ballast /ballast2")
    assert service.fresh_states()


def test_it_comes_back_after_a_reboot(board: Board, service: Service) -> None:
    before = service.fresh_states()[0]["seq"]
    board.reboot()
    service.wait_for("active")
    assert service.fresh_states()[0]["seq"] > before


def test_it_comes_back_after_a_power_cut(board: Board, service: Service) -> None:
    before = service.fresh_states()[0]["seq"]
    board.cut_power()
    service.wait_for("active")
    assert service.fresh_states()[0]["seq"] > before


def test_an_upgrade_takes_over_and_keeps_the_configuration(board: Board, service: Service) -> None:
    config = service.read(CONFIG_FILE)
    board.run(f"sed -i 's/^__version__ = .*/__version__ = \"99.1.0\"/' {SOURCE}/edge_agent/__init__.py")
    service.install("--upgrade")
    assert "/99.1.0-" in board.run("readlink -f /opt/edge-agent/current").stdout
    assert service.read(CONFIG_FILE) == config
    assert service.received("info")[0]["version"] == "99.1.0"


def test_an_upgrade_that_does_not_get_healthy_is_rolled_back(board: Board, service: Service) -> None:
    agent = f"{SOURCE}/edge_agent/daemon/agent.py"
    board.run(f"cp {agent} /root/agent.py; sed -i 's/99.1.0/99.2.0/' {SOURCE}/edge_agent/__init__.py")
    board.run(f"echo 'raise RuntimeError(\"a broken release\")' >>{agent}")
    try:
        done = service.install("--upgrade", check=False)
    finally:
        board.run(f"mv /root/agent.py {agent}")
    assert done.returncode == 1
    assert "the old one runs again" in done.stderr
    assert "a broken release" in done.stderr
    assert "/99.1.0-" in board.run("readlink -f /opt/edge-agent/current").stdout
    assert service.unit().active == "active"
    assert service.fresh_states()


@pytest.mark.parametrize("after_s", [5, 20, 45])
def test_an_interrupted_installation_is_simply_repeated(board: Board, service: Service, after_s: int) -> None:
    board.run(f"sed -i 's/99\\.[0-9.]*/99.3.{after_s}/' {SOURCE}/edge_agent/__init__.py")
    board.run(
        f"cd {SOURCE} && timeout --signal=KILL {after_s} ./install.sh --lean /root/model-efficientnet_lite0"
        " --offline /root/wheelhouse",
        check=False,
    )
    service.wait_for("active")
    service.install()
    assert f"/99.3.{after_s}-" in board.run("readlink -f /opt/edge-agent/current").stdout
    assert board.run("find /opt/edge-agent/releases -name '*.unfinished'").stdout == ""


def test_it_is_removed_but_for_what_is_the_owners(board: Board, service: Service) -> None:
    board.run(f"{SOURCE}/install.sh --uninstall")
    assert board.run("systemctl is-active edge-agent", check=False).stdout != "active\n"
    assert board.run("ls -d /opt/edge-agent /usr/local/bin/edge-agent 2>/dev/null", check=False).stdout == ""
    assert "device_id" in service.read(CONFIG_FILE)


@pytest.mark.usefixtures("service")
def test_purging_leaves_nothing(board: Board) -> None:
    board.run(f"{SOURCE}/install.sh --uninstall --purge")
    left = board.run("find / -xdev -path /root -prune -o -name '*edge-agent*' -print").stdout.splitlines()
    assert [
        path for path in left if not path.startswith(("/proc", "/run", "/tmp", "/var/log", "/var/tmp"))
    ] == []
    assert board.run("getent passwd edge-agent", check=False).stdout == ""
