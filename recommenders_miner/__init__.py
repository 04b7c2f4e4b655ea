"""News recommenders on Keras 3: MINER and the models that its paper compares with.

Everything public is imported on first use, so that `import recommenders_miner` and the command line's help cost
nothing. Models are found by their registration: `recommenders_miner.models.MODELS`.
"""

from __future__ import annotations

import importlib
from typing import Any

from recommenders_miner.backend import choose_backend

__version__ = "0.2.0"

_HOME = {
    "BaseModel": "models",
    "BoostedReranker": "models.reranker",
    "HParams": "hparams",
    "ImpressionLog": "data.log",
    "MINDAllIterator": "compat.iterator",
    "MINDIterator": "compat.iterator",
    "NewsRecall": "retrieval.news_recall",
    "NewsTable": "data.news",
    "load_model": "models",
    "prepare_hparams": "hparams",
}
_SUBPACKAGES = {"convert": "datasets", "inspection": "inspection", "layers": "layers"}

choose_backend()


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"recommenders_miner.{_SUBPACKAGES[name]}")
    if name == "__all__":
        models = importlib.import_module("recommenders_miner.models")
        return sorted([*_HOME, *_SUBPACKAGES, *(model.__name__ for model in models.MODELS.values())])
    home = _HOME.get(name, "models" if name.endswith("Model") else None)
    if home is None:
        raise AttributeError(f"module 'recommenders_miner' has no attribute {name!r}")
    return getattr(importlib.import_module(f"recommenders_miner.{home}"), name)


def __dir__() -> list[str]:
    return __getattr__("__all__")
