"""More than one process: training, scoring and recommending with workers on this machine, or on the nodes of Ray.

Its functions are imported when they are first asked for, so that a worker starts with what it needs alone.
"""

import importlib
from typing import Any

_HOME = {"fit": "training", "recommend_all_users": "scoring", "score_parts": "scoring"}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
