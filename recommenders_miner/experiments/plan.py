"""What can be trained on a data set with what is at hand: looked at before anything is trained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from recommenders_miner.data.iterator import NewsIterator
from recommenders_miner.data.pieces import fetched_preset
from recommenders_miner.errors import PresetError
from recommenders_miner.hparams import HParams

NEEDED_FILES = (
    *("word_embedding", "entity_graph", "wordEmb_file", "wordDict_file"),
    *("userDict_file", "vertDict_file", "subvertDict_file"),
)
"""The hyperparameters that name files which a model cannot be built without."""


class Plan(NamedTuple):
    """How a model will be run: `note` says what it has to do without, `lacks` why it cannot run, if it cannot."""

    hparams: HParams
    is_done: bool = False
    note: str = ""
    lacks: str = ""

    @classmethod
    def of(cls, hparams: HParams, folder: Path, is_done: Callable[[HParams], bool]) -> Self:
        """Look for all that a model needs, `folder` being that of the training news.

        A model goes without the vectors of entities where there are none: these are then drawn at random and learned.
        """
        files, note = NewsIterator(hparams), ""
        files.train_folder = folder
        entities = getattr(hparams, "entity_embedding", None)
        if entities and not Path(files.find(entities)).exists():
            hparams, note = hparams.replace(entity_embedding=None), f"without {entities}"
        if is_done(hparams):
            return cls(hparams, True, note)
        return cls(hparams, False, note, " ".join(_lacking(hparams, files)))

    @property
    def state(self) -> str:
        """What will become of it, in a line."""
        if self.lacks:
            return f"cannot run: {self.lacks}"
        state = "is done" if self.is_done else "will be trained"
        return f"{state}, {self.note}" if self.note else state


def _lacking(hparams: HParams, files: NewsIterator) -> Iterator[str]:
    for name in NEEDED_FILES:
        path = getattr(hparams, name, None)
        if path and not Path(files.find(path)).exists():
            glove = path.startswith("glove.") and path.endswith(".txt")
            kind = "-".join(path.lower().removesuffix(".txt").split(".")) if glove else ""
            yield f"{name}: there is no file {path}." + (f" Get it by: recommenders-miner fetch {kind}" if glove else "")
    if "pieces" in hparams.features:
        try:
            _require_language_model(hparams.plm)
        except PresetError as error:
            yield str(error)


@functools.cache
def _require_language_model(preset: str) -> None:
    """Raise `PresetError` where a language model cannot be had; its weights are not fetched for that."""
    import keras_hub

    folder = fetched_preset(preset)
    try:
        keras_hub.models.Backbone.from_preset(folder, load_weights=False)
    except Exception as error:  # KerasHub lets through whatever its many readers and downloaders raise
        raise PresetError(preset, f"no language model could be loaded: {error}") from error
