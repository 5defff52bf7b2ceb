"""What the daemon does without, shown on fresh interpreters."""

from __future__ import annotations

import subprocess
import sys


def run(script: str) -> str:
    """Run a script in a fresh interpreter; returns what it prints."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_without_tls_openssl_is_not_loaded_and_hashes_are_the_same() -> None:
    script = """
from edge_agent.system.lean_imports import leave_out_openssl
assert leave_out_openssl()
import hashlib
from edge_agent.daemon.agent import run_agent
print(hashlib.sha256(b"abc").hexdigest()[:8], "libssl" in open("/proc/self/maps").read())
"""
    assert run(script) == "ba7816bf False"


def test_what_is_loaded_already_is_left_alone() -> None:
    script = """
import ssl
from edge_agent.system.lean_imports import leave_out_openssl
print(leave_out_openssl())
import ssl
"""
    assert run(script) == "False"
