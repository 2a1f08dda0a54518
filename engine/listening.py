"""A port to listen on, taken before anything slow is begun."""

import socket
from ipaddress import ip_address

from schemas.errors import InputError


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises InputError where that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot listen on {host}, port {port}: {reason}; choose another host or port") from error


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ip_address(listening.getsockname()[0]).is_loopback
