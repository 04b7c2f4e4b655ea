"""The models: one file a paper, over what they share in `base.py` and `network.py`."""

from recommenders_miner.models.base import BaseModel
from recommenders_miner.models.network import ClickPredictor, NewsRecommender, UserEncoder
from recommenders_miner.models.registry import MODELS, import_all
from recommenders_miner.models.saving import load_model

import_all()
globals().update({model.__name__: model for model in MODELS.values()})

__all__ = ["MODELS", "BaseModel", "ClickPredictor", "NewsRecommender", "UserEncoder", "load_model"]
