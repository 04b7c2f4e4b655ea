"""What can be trained on a data set with what is at hand: looked at before anything is trained."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import NamedTuple

import keras
import pyarrow.parquet as pq

from recommenders_miner.data.features import FEATURES
from recommenders_miner.data.folders import ARTICLES_FILE
from recommenders_miner.data.iterator import NewsIterator
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.sampling import hold_out, require_clicks
from recommenders_miner.encoders.pretrained import load_backbone
from recommenders_miner.errors import DataFormatError, HParamsError, PresetError
from recommenders_miner.experiments.memory import training_memory
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

    @property
    def state(self) -> str:
        """What will become of it, in a line."""
        if self.lacks:
            return f"cannot run: {self.lacks}"
        state = "is done" if self.is_done else "will be trained"
        return f"{state}, {self.note}" if self.note else state


def without_entity_vectors(hparams: HParams, folder: Path) -> tuple[HParams, str]:
    """Do without a file of entity vectors that there is none of: these are then drawn at random, and learned.

    `folder` is that of the training news. Returns the hyperparameters, and what is done without, "" for nothing.
    """
    path = getattr(hparams, "entity_embedding", None)
    if not path or _is_there(hparams, path, folder):
        return hparams, ""
    return hparams.replace(entity_embedding=None), f"without {path}"


def lacking(hparams: HParams, folder: Path) -> str:
    """Say what a model needs and cannot have; "" where it can be trained."""
    problems = []
    if hparams.held_out == "none" and (hparams.select == "best" or hparams.patience):
        problems.append("select, patience: need held_out, users or last_day, since dev is what is reported.")
    for name in NEEDED_FILES:
        path = getattr(hparams, name, None)
        if path and not _is_there(hparams, path, folder):
            problems.append(f"{name}: there is no file {path}.")
            if glove := re.fullmatch(r"glove\.(\d+b)\.(\d+d)\.txt", path.lower()):
                problems.append(f"Get it by: recommenders-miner fetch glove-{glove[1]}-{glove[2]}")
    articles = folder / ARTICLES_FILE
    names = {"body_pieces": "plm_texts", "body": "views" if hasattr(hparams, "views") else "view_texts"}
    read = [name for feature, name in names.items() if feature in hparams.features]
    if read and not (articles.is_file() and "body" in pq.read_schema(articles).names):
        problems.append(f"{', '.join(read)}: there is no column body in {articles}.")
    if any("pieces" in FEATURES[feature].needs for feature in hparams.features):
        try:
            _require_language_model(hparams.plm)
        except PresetError as error:
            problems.append(str(error))
    return " ".join(problems)


def untrainable(hparams: HParams, log: ImpressionLog) -> str:
    """Say that there is nothing to train on in a log, or nothing to hold out of it; "" where there is."""
    try:
        kept, _ = hold_out(log, hparams)
        require_clicks(kept, hparams.negatives)
    except (HParamsError, DataFormatError) as error:
        return str(error)
    return ""


def too_large(hparams: HParams, news: NewsTable, log: ImpressionLog) -> str:
    """Say that a step of training on a log takes more memory than there is, by arithmetic; "" where it does not.

    On a GPU, whose memory is not known before it is used, nothing is said.
    """
    if not hasattr(os, "sysconf") or keras.distribution.list_devices("gpu"):
        return ""
    needed, there = training_memory(hparams, news, log).bytes, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed <= there:
        return ""
    return (
        f"a training step takes {needed / 1e9:.1f} GB by arithmetic, and there are {there / 1e9:.1f}. "
        "Less take a smaller batch_size with accumulate_steps, precision=bfloat16, remat=true."
    )


def _is_there(hparams: HParams, path: str, folder: Path) -> bool:
    files = NewsIterator(hparams)
    files.train_folder = folder
    return Path(files.find(path)).exists()


@functools.cache
def _require_language_model(preset: str) -> None:
    """Raise `PresetError` where a language model cannot be had; its weights are not fetched for that."""
    load_backbone(preset, load_weights=False)
