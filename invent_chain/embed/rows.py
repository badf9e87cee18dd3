"""What every encoder must return, checked in one place."""

from __future__ import annotations

from typing import Any

import numpy as np

from invent_chain.errors import EmbeddingError
from invent_chain.protocols import FloatArray


def checked_rows(rows: Any, count: int, source: str) -> FloatArray:
    """Return `rows` as an array of shape (count, d) with d >= 1, all finite.

    Messages give shapes and counts and never a value, since a broken encoder may hand back the texts themselves.

    Args:
        rows: What came back: anything that numpy can read.
        count: Rows expected, one a text.
        source: Who returned it, for the message.

    Raises:
        EmbeddingError: Not numbers, another shape, NaN or inf.
    """
    try:
        array = np.asarray(rows)
        if array.dtype.kind not in "biufO":
            raise TypeError(f"an array of {array.dtype}")
        array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EmbeddingError(
            f"{source} returned a {type(rows).__name__} that is no array of real numbers; "
            f"expected shape ({count}, d), one row of the same length for each text"
        ) from error
    if array.ndim != 2 or len(array) != count or array.shape[1] == 0:
        raise EmbeddingError(
            f"{source} returned shape {array.shape} for {count} texts; "
            f"expected ({count}, d) with d of at least 1, one row for each text"
        )
    bad = int((~np.isfinite(array)).any(axis=1).sum())
    if bad:
        raise EmbeddingError(
            f"{source} returned NaN or inf in {bad} of {count} rows of shape {array.shape}; "
            "expected finite numbers: check the model's precision and its input"
        )
    return array
