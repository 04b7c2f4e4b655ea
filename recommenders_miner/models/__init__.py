"""The systems: one file each, over what they share in `base_model.py` and `network.py`."""

from recommenders_miner.models.base_model import BaseModel
from recommenders_miner.models.deepfm import DeepFMModel
from recommenders_miner.models.dkn import DKNModel
from recommenders_miner.models.hierec import HieRecModel
from recommenders_miner.models.libfm import LibFMModel
from recommenders_miner.models.lstur import LSTURModel
from recommenders_miner.models.lstur_plm import LSTURPLMModel
from recommenders_miner.models.miner import MINERModel
from recommenders_miner.models.naml import NAMLModel
from recommenders_miner.models.network import ClickPredictor, NewsRecommender, UserEncoder
from recommenders_miner.models.npa import NPAModel
from recommenders_miner.models.nrms import NRMSModel
from recommenders_miner.models.nrms_plm import NRMSPLMModel
from recommenders_miner.models.saving import load_model
from recommenders_miner.models.unbert import UNBERTModel

# By `model_type`, as hparams/*.yaml name them.
MODELS: dict[str, type[BaseModel]] = {
    "miner": MINERModel,
    "nrms": NRMSModel,
    "nrms-plm": NRMSPLMModel,
    "lstur": LSTURModel,
    "lstur-plm": LSTURPLMModel,
    "naml": NAMLModel,
    "npa": NPAModel,
    "dkn": DKNModel,
    "hierec": HieRecModel,
    "libfm": LibFMModel,
    "deepfm": DeepFMModel,
    "unbert": UNBERTModel,
}

__all__ = [
    "MODELS",
    "BaseModel",
    "ClickPredictor",
    "DKNModel",
    "DeepFMModel",
    "HieRecModel",
    "LSTURModel",
    "LSTURPLMModel",
    "LibFMModel",
    "MINERModel",
    "NAMLModel",
    "NPAModel",
    "NRMSModel",
    "NRMSPLMModel",
    "NewsRecommender",
    "UNBERTModel",
    "UserEncoder",
    "load_model",
]
