"""The main thread sleeps while there is nothing to do, above all after an edit of the configuration."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import receive
from tests.daemon.process import Daemon

QUIET_S = 4.0


@dataclass(frozen=True, slots=True)
class Effort:
    """What the main thread has done so far."""

    cpu_s: float
    sleeps: int
    """Voluntary context switches: at least one for each time that it waits."""

    @classmethod
    def of_main_thread(cls, daemon: Daemon) -> Effort:
        thread = Path(f"/proc/{daemon.pid}/task/{daemon.pid}")
        times = (thread / "stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in (thread / "status").read_text().splitlines())
        ticks = int(times[11]) + int(times[12])
        return cls(ticks / os.sysconf("SC_CLK_TCK"), int(status["voluntary_ctxt_switches"]))


def effort_over(daemon: Daemon, seconds: float) -> Effort:
    before = Effort.of_main_thread(daemon)
    time.sleep(seconds)
    after = Effort.of_main_thread(daemon)
    return Effort(after.cpu_s - before.cpu_s, after.sleeps - before.sleeps)


def test_after_edits_and_files_beside_it_the_main_thread_sleeps(
    start: StartDaemon, subscriber: Subscriber
) -> None:
    daemon = start(source={"fps": 1}, publish={"health_interval_s": 30})
    receive(subscriber, "state")
    daemon.edit(stabilizer={"threshold": 0.1})
    receive(subscriber, "info", lambda info: info["config"]["stabilizer"]["threshold"] == 0.1)
    with daemon.config.open("a") as file:
        file.write("# written in place\n")
    for number in range(20):
        (daemon.directory / f"beside{number}").write_text("x")
    time.sleep(1.0)  # for the last edit to settle
    effort = effort_over(daemon, QUIET_S)
    assert effort.cpu_s < 0.1 * QUIET_S
    assert effort.sleeps < 20 * QUIET_S


def test_a_half_written_configuration_is_not_read(start: StartDaemon, subscriber: Subscriber) -> None:
    daemon = start()
    receive(subscriber, "state")
    whole = daemon.config.read_text()
    with daemon.config.open("w") as file:
        file.write(whole[: len(whole) // 2])
        file.flush()
        time.sleep(2.0)
        file.write(whole[len(whole) // 2 :].replace("health_interval_s: 1", "health_interval_s: 2"))
    info = receive(subscriber, "info", lambda info: info["config"]["publish"]["health_interval_s"] == 2)
    assert info["config_error"] == ""
    assert "refused" not in daemon.log
