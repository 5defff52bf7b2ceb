"""What a process takes, read from /proc."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of CPU since its start, and resident memory."""

    cpu_s: float
    rss_mb: float


def cost(pid: int) -> Cost:
    folder = Path(f"/proc/{pid}")
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    (rss_kb,) = re.findall(r"VmRSS:\s+(\d+)", (folder / "status").read_text())
    return Cost((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(rss_kb) / 1024)
