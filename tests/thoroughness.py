"""Parameters that `make test` leaves to `make test-slow`, where what is shown of one system is of the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def mostly_thorough(values: Iterable[Any], fast: Collection[Any]) -> list[Any]:
    """Marks all of a parameter's values as thorough but the fast ones."""
    return [value if value in fast else pytest.param(value, marks=pytest.mark.thorough) for value in values]
