"""Check the address of a Dask scheduler before a client is created: if a client cannot connect, it takes a long time to close itself."""

from __future__ import annotations

_ENCRYPTED = ("tls", "wss")


def check_address(address: str) -> None:
    """Raise an error if a client cannot use this address. No connection is made.

    Raises
    ------
    ValueError
        The address has no port or an unknown scheme; or its scheme needs TLS, and Dask's configuration has no certificates.
    OSError
        The host is not known.
    """
    from distributed.comm import parse_address, resolve_address
    from distributed.security import Security

    resolve_address(address)
    scheme, _ = parse_address(address)
    if scheme in _ENCRYPTED and Security().get_connection_args("client")["ssl_context"] is None:
        raise ValueError(
            f"{scheme} needs certificates: set ca-file and client under distributed.comm.tls in Dask's configuration"
        )
