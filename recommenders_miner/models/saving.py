"""Saved models: a folder with the network, the hyperparameters and the vocabularies, all readable, nothing pickled."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.files import require_replaceable, whole_folder
from recommenders_miner.hparams import RECOMMENDERS_FILES, HParams
from recommenders_miner.io.vocabularies import Vocabularies
from recommenders_miner.models.network import NewsRecommender

if TYPE_CHECKING:
    from recommenders_miner.models.base_model import BaseModel

FORMAT_VERSION = 1
DESCRIPTION = "model.json"
NETWORK = "network.keras"


def save_model(model: BaseModel, folder: str | Path) -> None:
    """Writes a model to a folder, under a temporary name first, so that it appears whole or not at all.

    The folder holds `network.keras`, which `keras.saving.load_model` reads by itself; `model.json`: class,
    hyperparameters, seed, training history; and the vocabularies, one name a line. A folder that holds a saved model
    is replaced.

    Raises:
        RecommendersMinerError: the folder holds something else.
    """
    require_replaceable(folder, DESCRIPTION, "a saved model")
    with whole_folder(folder) as partial:
        _without_optimizer(model.network).save(partial / NETWORK)
        model.vocabularies.save(partial)
        description = {
            "format": FORMAT_VERSION,
            "model": type(model).__name__,
            "seed": model.seed,
            "hparams": model.hparams.to_dict(),
            "history": model.history,
        }
        (partial / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def _without_optimizer(network: NewsRecommender) -> NewsRecommender:
    """Copies a network, since Keras would save the optimiser's state with it, twice the size of the weights."""
    copy = NewsRecommender.from_config(network.get_config())
    copy.build()
    copy.set_weights(network.get_weights())
    return copy


def load_model(folder: str | Path) -> BaseModel:
    """Loads a model of whatever class that `save_model` wrote.

    Raises:
        RecommendersMinerError: the folder holds no saved model, or a damaged one.
        DataFormatError: a vocabulary is damaged.
        HParamsError: the hyperparameters are not this version's.
    """
    from recommenders_miner.models import MODELS

    folder = Path(folder)
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        classes = {cls.__name__: cls for cls in MODELS.values()}
        model_class, sections = classes[description["model"]], description["hparams"]
        hparams = HParams(**{key: value for section in sections.values() for key, value in section.items()})
        # The folder has what was read of Recommenders' files, which need not be there any more.
        model = model_class(hparams.replace(**dict.fromkeys(RECOMMENDERS_FILES)), seed=description["seed"])
    except FileNotFoundError:
        raise RecommendersMinerError(f"{folder}: holds no saved model ({DESCRIPTION} is missing).") from None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise RecommendersMinerError(f"{folder / DESCRIPTION}: damaged or of another version ({error}).") from error
    try:
        network = keras.saving.load_model(folder / NETWORK)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RecommendersMinerError(f"{folder / NETWORK}: not a readable network ({error}).") from error
    model.adopt(network, Vocabularies.load(folder))
    model.history = description["history"]
    return model
