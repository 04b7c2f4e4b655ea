"""News recommenders on Keras 3: MINER and the systems that its paper compares with.

Everything public is imported on first use, so that `import recommenders_miner` and the command line's help cost
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from recommenders_miner.backend import choose_backend

if TYPE_CHECKING:
    from recommenders_miner import datasets as convert
    from recommenders_miner import inspection, layers
    from recommenders_miner.data.iterator import MINDAllIterator, MINDIterator
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable
    from recommenders_miner.hparams import HParams, prepare_hparams
    from recommenders_miner.models import (
        BaseModel,
        DeepFMModel,
        DKNModel,
        HieRecModel,
        LibFMModel,
        LSTURModel,
        LSTURPLMModel,
        MINERModel,
        NAMLModel,
        NPAModel,
        NRMSModel,
        NRMSPLMModel,
        UNBERTModel,
        load_model,
    )
    from recommenders_miner.retrieval.news_recall import NewsRecall

__version__ = "0.1.0"

_SUBPACKAGES = {"convert": "datasets", "inspection": "inspection", "layers": "layers"}

_HOME = {
    "BaseModel": "models",
    "DKNModel": "models",
    "DeepFMModel": "models",
    "HParams": "hparams",
    "HieRecModel": "models",
    "ImpressionLog": "data.log",
    "LSTURModel": "models",
    "LSTURPLMModel": "models",
    "LibFMModel": "models",
    "MINDAllIterator": "data.iterator",
    "MINDIterator": "data.iterator",
    "MINERModel": "models",
    "NAMLModel": "models",
    "NPAModel": "models",
    "NRMSModel": "models",
    "NRMSPLMModel": "models",
    "NewsRecall": "retrieval.news_recall",
    "NewsTable": "data.news",
    "UNBERTModel": "models",
    "load_model": "models",
    "prepare_hparams": "hparams",
}

__all__ = [
    "BaseModel",
    "DKNModel",
    "DeepFMModel",
    "HParams",
    "HieRecModel",
    "ImpressionLog",
    "LSTURModel",
    "LSTURPLMModel",
    "LibFMModel",
    "MINDAllIterator",
    "MINDIterator",
    "MINERModel",
    "NAMLModel",
    "NPAModel",
    "NRMSModel",
    "NRMSPLMModel",
    "NewsRecall",
    "NewsTable",
    "UNBERTModel",
    "convert",
    "inspection",
    "layers",
    "load_model",
    "prepare_hparams",
]

choose_backend()


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"recommenders_miner.{_SUBPACKAGES[name]}")
    if name not in _HOME:
        raise AttributeError(f"module 'recommenders_miner' has no attribute {name!r}")
    return getattr(importlib.import_module(f"recommenders_miner.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
