"""Expiry and size, checked alike for every cache."""

from __future__ import annotations

from invent_chain.errors import ConfigurationError


def check_limits(expiry: object, max_bytes: object, timeout: object = 1.0) -> None:
    """Check the limits of a cache.

    Raises:
        ConfigurationError: One is not above 0.
    """
    if expiry is not None and (not isinstance(expiry, int | float) or not expiry > 0):
        raise ConfigurationError(f"expiry={expiry!r}: must be more than 0 seconds, or None to keep for good")
    if not isinstance(timeout, int | float) or not timeout > 0:
        raise ConfigurationError(f"timeout={timeout!r}: must be more than 0 seconds")
    if max_bytes is not None and (type(max_bytes) is not int or max_bytes < 1):
        raise ConfigurationError(f"max_bytes={max_bytes!r}: must be a whole number of at least 1, or None for no limit")
