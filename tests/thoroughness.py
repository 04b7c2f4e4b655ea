"""Parameters that `make test` leaves to `make test-slow`, where what is shown of one system is of the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def mostly_thorough(values: Iterable[Any], fast: Collection[Any]) -> list[Any]:
    """Marks all of a parameter's values as thorough but the fast ones; those of several parameters are tuples."""
    parts = [(value, value if isinstance(value, tuple) else (value,)) for value in values]
    return [value if value in fast else pytest.param(*part, marks=pytest.mark.thorough) for value, part in parts]
