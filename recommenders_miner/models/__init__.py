"""The models: one file a paper, over what they share in `base.py` and `network.py`."""

import importlib
import pkgutil

from recommenders_miner.hparams import MODELS
from recommenders_miner.models.base import BaseModel
from recommenders_miner.models.network import ClickPredictor, NewsRecommender, UserEncoder
from recommenders_miner.models.saving import load_model

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
globals().update({model.__name__: model for model in MODELS.values()})

__all__ = ["MODELS", "BaseModel", "ClickPredictor", "NewsRecommender", "UserEncoder", "load_model"]
