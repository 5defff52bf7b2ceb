"""The end of a real program under test, as a service manager brings it about."""

from __future__ import annotations

import signal
import subprocess


def end(process: subprocess.Popen[bytes], how: signal.Signals, timeout_s: float) -> None:
    """Ask the process to end, and kill it where it has not done so in time."""
    process.send_signal(how)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
