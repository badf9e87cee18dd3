"""Expiry and size, checked alike for every cache."""

from __future__ import annotations

from invent_chain.errors import ConfigurationError


def check_limits(expiry: float | None, max_bytes: int | None) -> None:
    """Check the limits of a cache.

    Raises:
        ConfigurationError: One is not above 0.
    """
    if expiry is not None and not expiry > 0:
        raise ConfigurationError(f"expiry={expiry!r}: must be more than 0 seconds, or None to keep for good")
    if max_bytes is not None and (type(max_bytes) is not int or max_bytes < 1):
        raise ConfigurationError(f"max_bytes={max_bytes!r}: must be a whole number of at least 1, or None for no limit")
