"""Saved models: a folder with the network, the hyperparameters and the vocabularies, all readable, nothing pickled."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from recommenders_miner.files import recover, require_replaceable, whole_folder
from recommenders_miner.hparams import RECOMMENDERS_FILES, HParams
from recommenders_miner.io.vocabularies import SAVED_NAMES, Vocabularies
from recommenders_miner.manifest import MANIFEST, check_manifest, write_manifest
from recommenders_miner.models.network import NewsRecommender
from recommenders_miner.models.network_file import read_network

if TYPE_CHECKING:
    from recommenders_miner.models.base_model import BaseModel

LOGGER = logging.getLogger("recommenders_miner")

FORMAT_VERSION = 2
_WITHOUT_MANIFEST = 1
DESCRIPTION = "model.json"
NETWORK = "network.keras"


def save_model(model: BaseModel, folder: str | Path) -> None:
    """Writes a model to a folder, under a temporary name first, so that it appears whole or not at all.

    The folder holds `network.keras`, which `keras.saving.load_model` reads by itself; `model.json`: class,
    hyperparameters, seed, training history; the vocabularies, one name a line; and `manifest.json`, by which
    `load_model` finds files that were changed since. A folder that holds a saved model is replaced.

    Raises:
        RecommendersMinerError: the folder holds something else.
        NotWrittenError: the disk is full, or the folder may not be written to; what it held still stands.
    """
    recover(folder)
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
        write_manifest(partial)


def _without_optimizer(network: NewsRecommender) -> NewsRecommender:
    """Copies a network, since Keras would save the optimiser's state with it, twice the size of the weights."""
    copy = NewsRecommender.from_config(network.get_config())
    copy.build()
    copy.set_weights(network.get_weights())
    return copy


def load_model(folder: str | Path) -> BaseModel:
    """Loads a model of whatever class that `save_model` wrote. Nothing in the folder is run.

    A folder of a version before manifests is loaded with a warning.

    Raises:
        RecommendersMinerError: the folder holds no saved model, or a damaged one.
        DataFormatError: a file was changed, added or removed since the model was saved, or asks for more than layers
            and numbers; the error names it.
        HParamsError: the hyperparameters are not this version's.
    """
    from recommenders_miner.models import MODELS

    folder = Path(folder)
    if not folder.exists():
        recover(folder)
    has_manifest = (folder / MANIFEST).is_file()
    if has_manifest:
        check_manifest(folder, {NETWORK, DESCRIPTION, *SAVED_NAMES})
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["format"] not in (FORMAT_VERSION, _WITHOUT_MANIFEST):
            raise ValueError(f"its format is {description['format']!r}")
        classes = {cls.__name__: cls for cls in MODELS.values()}
        model_class, sections = classes[description["model"]], description["hparams"]
        hparams = HParams(**{key: value for section in sections.values() for key, value in section.items()})
        # The folder has what was read of Recommenders' files, which need not be there any more.
        model = model_class(hparams.replace(**dict.fromkeys(RECOMMENDERS_FILES)), seed=int(description["seed"]))
        history = [dict(epoch) for epoch in description["history"]]
    except FileNotFoundError:
        raise RecommendersMinerError(f"{folder}: holds no saved model ({DESCRIPTION} is missing).") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError, OverflowError) as error:
        raise RecommendersMinerError(f"{folder / DESCRIPTION}: damaged or of another version ({error}).") from error
    if not has_manifest:
        _accept_without_manifest(folder, description["format"])
    network = read_network(folder / NETWORK)
    if not isinstance(network, NewsRecommender):
        problem = f"holds a {type(network).__name__}, not a {NewsRecommender.__name__}."
        raise DataFormatError(folder / NETWORK, problem)
    model.adopt(network, Vocabularies.load(folder))
    model.history = history
    return model


def _accept_without_manifest(folder: Path, version: int) -> None:
    """Warns where a model was saved before there were manifests; raises DataFormatError where it was not."""
    if version != _WITHOUT_MANIFEST:
        raise DataFormatError(folder / MANIFEST, "is missing.", remedy="Copy the folder anew from where it is whole.")
    LOGGER.warning(
        "%s was saved by an earlier version, without a manifest: changed files go unnoticed. Saving it anew adds one.",
        folder,
    )
