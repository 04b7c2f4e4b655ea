"""Saved models: one `.keras` archive that holds the network, its vocabularies and its hyperparameters.

Nothing in it is run when it is loaded: Keras reads it with `safe_mode`, the rest is text. A file beside it repeats the
hyperparameters for people to read.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from recommenders_miner.compat import settings
from recommenders_miner.errors import DataFormatError, HParamsError
from recommenders_miner.hparams import MODELS, SECTIONS, hparams_class
from recommenders_miner.models.network import NewsRecommender
from recommenders_miner.storage import MODEL_FILE, atomic_write, require_model

FORMAT = 3
DESCRIPTION = "model.json"
_MOST_EXPANSION = 100


def save_model(model: Any, folder: str | Path) -> None:
    """Write a model to a folder.

    `model.keras` holds all of it and replaces one that stands there in one step; `keras.saving.load_model` reads it,
    too. `model.json` beside it repeats class, hyperparameters, seed and training history.

    Raises:
        NotWrittenError: the disk is full, or the folder may not be written to; what it held still stands.
    """
    description = {
        "format": FORMAT,
        "model": type(model).__name__,
        "seed": model.seed,
        "hparams": model.hparams.to_dict(),
        "history": model.history,
        "trained_on": model.trained_on,
    }
    # A copy, since Keras would save the optimiser's state with the network, twice the size of the weights.
    network = NewsRecommender.from_config(model.network.get_config())
    network.build()
    network.set_weights(model.network.get_weights())
    network.description, network.vocabularies, network.counts = description, model.vocabularies, model.counts
    with (
        atomic_write(Path(folder) / MODEL_FILE) as partial,
        tempfile.TemporaryDirectory(dir=partial.parent, prefix=partial.name) as workplace,
    ):
        network.save(Path(workplace) / MODEL_FILE)  # Keras wants the ending
        (Path(workplace) / MODEL_FILE).replace(partial)
    with atomic_write(Path(folder) / DESCRIPTION) as partial:
        partial.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def load_model(folder: str | Path) -> Any:
    """Load a model of whatever class that `save_model` wrote. Nothing in the folder is run.

    Raises:
        RecommendersMinerError: the folder holds no saved model.
        DataFormatError: the model is damaged.
        HParamsError: the hyperparameters are not this version's.
    """
    path = require_model(folder)
    try:
        require_plain(path)
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
        if not isinstance(network, NewsRecommender) or network.vocabularies is None:
            raise TypeError(f"it holds a {type(network).__name__} without a model's vocabularies")
        description = network.description
        if description["format"] != FORMAT:
            raise ValueError(f"its format is {description['format']!r}")
        values = {key: value for section in SECTIONS for key, value in description["hparams"][section].items()}
        values.update(dict.fromkeys(settings.FILES))  # the vocabularies have what was read of them
        hparams = hparams_class(values["model_type"], values["news_encoder"])(**values)
        cls = MODELS[values["model_type"]]
        if cls.__name__ != description["model"]:
            raise TypeError(f"it is a {description['model']}, and here {cls.name} is a {cls.__name__}")
        model = cls(hparams, seed=description["seed"])
        model.history, model.trained_on = description["history"], description.get("trained_on", [])
        model.adopt(network, network.vocabularies)
        model.go_on_from(network.counts)
        model.folder = Path(folder)
        return model
    except HParamsError:
        raise
    except Exception as error:  # Keras lets through whatever building layers from a damaged config leads it into
        raise DataFormatError(
            path, f"not a readable model ({error}).", remedy="Take it from another source, or train it again."
        ) from error


def require_plain(path: Path) -> None:
    """Refuse an archive that would take much more room than it has, or put files elsewhere."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if sum(member.file_size for member in members) > _MOST_EXPANSION * path.stat().st_size:
        raise ValueError("it would take more than a hundred times its size")
    for member in members:
        if Path(member.filename).is_absolute() or ".." in Path(member.filename).parts:
            raise ValueError(f"{member.filename} would be written outside of it")
