"""The daemon that is attacked, as the tests of the daemon start it."""

from tests.daemon.conftest import settings, start

__all__ = ["settings", "start"]
