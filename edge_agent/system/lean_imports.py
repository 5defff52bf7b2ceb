"""Keeps out of the daemon what its libraries would load and it never uses: memory is what this is about.

paho-mqtt imports `ssl` where there is one, and with it OpenSSL; `hashlib` loads the same library for hashes
that Python has built in as well. Without TLS neither is needed. `docs/memory.md` has what each costs.
"""

from __future__ import annotations

import sys

_ONLY_FOR_TLS = ("ssl", "_ssl", "_hashlib")


class _NoTls:
    """Stands for `ssl` inside paho, which names these even where it found no `ssl`; nothing raises them."""

    class SSLWantReadError(Exception):
        pass

    class SSLWantWriteError(Exception):
        pass


def leave_out_openssl() -> bool:
    """Load paho without OpenSSL, and make `import ssl` fail from now on, as on a Python without it.

    Returns False, and changes nothing, where OpenSSL or paho is loaded already.
    """
    if any(name in sys.modules for name in (*_ONLY_FOR_TLS, "paho.mqtt.client")):
        return False
    sys.modules.update(dict.fromkeys(_ONLY_FOR_TLS))  # type: ignore[arg-type]
    import paho.mqtt.client

    vars(paho.mqtt.client)["ssl"] = _NoTls
    return True
