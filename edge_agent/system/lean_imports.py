"""Keeps unused parts of its libraries out of the daemon, to save memory.

paho-mqtt imports `ssl` where there is one, and with it OpenSSL; `hashlib` loads the same library for hashes
that Python has built in as well. It also imports `urllib.request`, and with that an HTTP client and a parser
of e-mail, only to look for a proxy in the environment. `docs/memory.md` has what each costs.
"""

from __future__ import annotations

import sys
import urllib.parse
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace

_ONLY_FOR_TLS = ("ssl", "_ssl", "_hashlib")
_PROXIES = "urllib.request"
_PAHO = "paho.mqtt.client"


class _NoTls:
    """Stands for `ssl` inside paho, which names these even where it found no `ssl`; nothing raises them."""

    class SSLWantReadError(Exception):
        pass

    class SSLWantWriteError(Exception):
        pass


class _NoProxies(ModuleType):
    """Stands for `urllib.request` inside paho."""

    @staticmethod
    def getproxies() -> dict[str, str]:
        return {}


def import_paho(environment: Mapping[str, str], *, tls: bool) -> None:
    """Import paho without what this process has no use for; what is loaded already stays.

    Without `tls`, `import ssl` fails from now on, as on a Python that has none; a later call with `tls` takes
    that back. Where `environment` names no proxy, paho finds none; `import urllib.request` elsewhere is as
    ever.
    """
    if _PAHO in sys.modules:
        if tls:
            vars(sys.modules[_PAHO])["ssl"] = import_ssl()
        return
    inside_paho: dict[str, object] = {}
    if not tls and not any(name in sys.modules for name in _ONLY_FOR_TLS):
        sys.modules.update(dict.fromkeys(_ONLY_FOR_TLS))  # type: ignore[arg-type]
        inside_paho["ssl"] = _NoTls
    if _PROXIES not in sys.modules and not any(name.lower().endswith("_proxy") for name in environment):
        sys.modules[_PROXIES] = stand_in = _NoProxies(_PROXIES)
        inside_paho["urllib"] = SimpleNamespace(parse=urllib.parse, request=stand_in)
    import paho.mqtt.client

    vars(paho.mqtt.client).update(inside_paho)
    if "urllib" in inside_paho:
        del sys.modules[_PROXIES]


def import_ssl() -> ModuleType:
    """Import `ssl`, which `import_paho` may have shut out. Raises ImportError where there is none."""
    for name in _ONLY_FOR_TLS:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]
    import ssl

    return ssl
