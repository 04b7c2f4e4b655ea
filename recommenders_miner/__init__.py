"""News recommenders on Keras 3: MINER and the systems that its paper compares with.

Everything public is imported on first use, so that `import recommenders_miner` and the command line's help cost
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from recommenders_miner.backend import choose_backend

if TYPE_CHECKING:
    from recommenders_miner import layers
    from recommenders_miner.hparams import HParams, prepare_hparams
    from recommenders_miner.io.impression_log import ImpressionLog
    from recommenders_miner.io.mind_iterator import MINDIterator
    from recommenders_miner.io.news_table import NewsTable
    from recommenders_miner.models import (
        BaseModel,
        LSTURModel,
        LSTURPLMModel,
        MINERModel,
        NRMSModel,
        NRMSPLMModel,
        load_model,
    )

__version__ = "0.1.0"

_HOME = {
    "BaseModel": "models",
    "HParams": "hparams",
    "ImpressionLog": "io.impression_log",
    "LSTURModel": "models",
    "LSTURPLMModel": "models",
    "MINDIterator": "io.mind_iterator",
    "MINERModel": "models",
    "NRMSModel": "models",
    "NRMSPLMModel": "models",
    "NewsTable": "io.news_table",
    "load_model": "models",
    "prepare_hparams": "hparams",
}

__all__ = [
    "BaseModel",
    "HParams",
    "ImpressionLog",
    "LSTURModel",
    "LSTURPLMModel",
    "MINDIterator",
    "MINERModel",
    "NRMSModel",
    "NRMSPLMModel",
    "NewsTable",
    "layers",
    "load_model",
    "prepare_hparams",
]

choose_backend()


def __getattr__(name: str) -> Any:
    if name == "layers":
        return importlib.import_module("recommenders_miner.layers")
    if name not in _HOME:
        raise AttributeError(f"module 'recommenders_miner' has no attribute {name!r}")
    return getattr(importlib.import_module(f"recommenders_miner.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
