"""Saved models: a folder with the network, the hyperparameters and the vocabularies, all readable, nothing pickled."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recommenders_miner.data.vocabularies import SAVED_NAMES, Vocabularies
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from recommenders_miner.hparams import RECOMMENDERS_FILES, SECTIONS, HParams
from recommenders_miner.manifest import MANIFEST, check_manifest, write_manifest
from recommenders_miner.models.network import NewsRecommender
from recommenders_miner.models.network_file import read_network
from recommenders_miner.models.training import require_epoch_logs
from recommenders_miner.storage import new_folder

if TYPE_CHECKING:
    from recommenders_miner.models.base_model import BaseModel

LOGGER = logging.getLogger("recommenders_miner")

FORMAT_VERSION = 2
_WITHOUT_MANIFEST = 1
DESCRIPTION = "model.json"
NETWORK = "network.keras"

_READINGS = 5
# These decide how wide the arrays of all news are, and nothing in the network says whether they are right.
_SIZES = ("title_size", "body_size", "entity_size")
_LARGEST_SIZE = 10_000
# Which vocabulary an embedding of a config is for: by the key of its rows, by its own, by the feature that it embeds.
_ROWS = {
    "num_users": "users",
    "num_categories": "categories",
    "num_subcategories": "subcategories",
    "num_news": "news",
    "num_terms": "terms",
}
_EMBEDDINGS = {
    "words": "words",
    "entities": "entities",
    "contexts": "entities",
    "category_embedding": "categories",
    "backbone": "pieces",
}
_ROWS_OF_EMBEDDINGS = ("vocabulary_size", "input_dim")
_LABELS = {"category": "categories", "subcategory": "subcategories"}


def save_model(model: BaseModel, folder: str | Path) -> None:
    """Writes a model to a folder, under a temporary name first, so that it appears whole or not at all.

    The folder holds `network.keras`, which `keras.saving.load_model` reads by itself; `model.json`: class,
    hyperparameters, seed, training history; the vocabularies, one name a line; and `manifest.json`, by which
    `load_model` finds files that were changed since. A folder that holds a saved model is replaced.

    Raises:
        RecommendersMinerError: the folder holds something else.
        NotWrittenError: the disk is full, or the folder may not be written to; what it held still stands.
    """
    with new_folder(folder, overwrite=True) as partial:
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

    A folder that another process replaces in the meantime is read anew. A folder of a version before manifests is
    loaded with a warning.

    Raises:
        RecommendersMinerError: the folder holds no saved model, or a damaged one, or is replaced time and again.
        DataFormatError: a file was changed, added or removed since the model was saved, or asks for more than layers
            and numbers, or does not go with the others; the error names it.
        PresetError: the word pieces are damaged, or ask for more than a tokenizer.
        HParamsError: the hyperparameters are not this version's.
    """
    folder = Path(folder)
    for _ in range(_READINGS):
        before = _what_stands_at(folder)
        try:
            model = _read_model(folder)
        except (RecommendersMinerError, OSError):
            if _what_stands_at(folder) == before:
                raise
        else:
            if _what_stands_at(folder) == before:
                return model
    raise RecommendersMinerError(f"{folder}: was replaced each of the {_READINGS} times that it was read. Try again.")


def _what_stands_at(folder: Path) -> tuple[int, int, bytes] | None:
    """Tells a folder from another that took its place; None where there is none."""
    try:
        stat = folder.stat()
        manifest = folder / MANIFEST  # since the number of a folder that is gone may be given to the next one
        return stat.st_dev, stat.st_ino, manifest.read_bytes() if manifest.is_file() else b""
    except OSError:
        return None


def _read_model(folder: Path) -> BaseModel:
    from recommenders_miner.models import MODELS

    has_manifest = (folder / MANIFEST).is_file()
    if has_manifest:
        check_manifest(folder, {NETWORK, DESCRIPTION, *SAVED_NAMES})
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["format"] not in (FORMAT_VERSION, _WITHOUT_MANIFEST):
            raise ValueError(f"its format is {description['format']!r}")
        classes = {cls.__name__: cls for cls in MODELS.values()}
        model = classes[description["model"]](_hparams(description["hparams"]), seed=_seed(description["seed"]))
        model.history = require_epoch_logs(description["history"])
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
    vocabularies = Vocabularies.load(folder)
    _require_fitting(folder, network, vocabularies)
    model.adopt(network, vocabularies)
    return model


def _hparams(sections: dict[str, dict[str, Any]]) -> HParams:
    """The hyperparameters of a description; raises ValueError, of which HParamsError is one, where they are none."""
    if not sections.keys() <= set(SECTIONS):
        raise ValueError(f"its hyperparameters stand in sections other than {', '.join(SECTIONS)}")
    hparams = HParams(**{key: value for section in sections.values() for key, value in section.items()})
    for name in _SIZES:
        if getattr(hparams, name) > _LARGEST_SIZE:
            raise ValueError(f"its {name} is {getattr(hparams, name):,}, more than {_LARGEST_SIZE:,}")
    # The folder has what was read of Recommenders' files, which need not be there any more.
    return hparams.replace(**dict.fromkeys(RECOMMENDERS_FILES))


def _seed(seed: Any) -> int:
    if type(seed) is not int or seed < 0:
        raise ValueError("its seed is no whole number from 0")
    return seed


def _require_fitting(folder: Path, network: NewsRecommender, vocabularies: Vocabularies) -> None:
    """Raises DataFormatError where a vocabulary has another size than the embedding that its ids are looked up in."""
    sizes = vocabularies.sizes()
    for name, rows in _embedding_rows(network.get_config()):
        # A language model may have rows to spare.
        if name in sizes and (sizes[name] > rows if name == "pieces" else sizes[name] != rows):
            problem = f"has an embedding of {rows:,} rows for the {sizes[name]:,} ids of the folder's {name}."
            raise DataFormatError(folder / NETWORK, problem, remedy="Copy the folder anew from where it is whole.")


def _embedding_rows(part: Any, vocabulary: str | None = None) -> Iterator[tuple[str, int]]:
    """Yields the vocabulary and the rows of every embedding that a config speaks of.

    Args:
        part: the config, or a part of it.
        vocabulary: the one that the embedding around the part is for.
    """
    if isinstance(part, list):
        for value in part:
            yield from _embedding_rows(value, vocabulary)
    elif isinstance(part, dict):
        label = part.get("feature")
        vocabulary = _LABELS.get(label, vocabulary) if isinstance(label, str) else vocabulary
        for key, value in part.items():
            if isinstance(value, int) and key in _ROWS:
                yield _ROWS[key], value
            elif isinstance(value, int) and key in _ROWS_OF_EMBEDDINGS and vocabulary is not None:
                yield vocabulary, value
            else:
                # The encoder of entities calls what it looks up its words.
                yield from _embedding_rows(value, vocabulary or _EMBEDDINGS.get(key))


def _accept_without_manifest(folder: Path, version: int) -> None:
    """Warns where a model was saved before there were manifests; raises DataFormatError where it was not."""
    if version != _WITHOUT_MANIFEST:
        raise DataFormatError(folder / MANIFEST, "is missing.", remedy="Copy the folder anew from where it is whole.")
    LOGGER.warning(
        "%s was saved by an earlier version, without a manifest: changed files go unnoticed. Saving it anew adds one.",
        folder,
    )
