"""The systems: one file each, over what they share in `base_model.py` and `network.py`."""

from recommenders_miner.models.base_model import BaseModel
from recommenders_miner.models.lstur import LSTURModel
from recommenders_miner.models.lstur_plm import LSTURPLMModel
from recommenders_miner.models.miner import MINERModel
from recommenders_miner.models.network import NewsRecommender, UserEncoder
from recommenders_miner.models.nrms import NRMSModel
from recommenders_miner.models.nrms_plm import NRMSPLMModel
from recommenders_miner.models.saving import load_model

# By `model_type`, as hparams/*.yaml name them.
MODELS: dict[str, type[BaseModel]] = {
    "miner": MINERModel,
    "nrms": NRMSModel,
    "nrms-plm": NRMSPLMModel,
    "lstur": LSTURModel,
    "lstur-plm": LSTURPLMModel,
}

__all__ = [
    "MODELS",
    "BaseModel",
    "LSTURModel",
    "LSTURPLMModel",
    "MINERModel",
    "NRMSModel",
    "NRMSPLMModel",
    "NewsRecommender",
    "UserEncoder",
    "load_model",
]
