"""Toy models, exported once for the process."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from recommenders_miner.serving.export import export_model
from recommenders_miner.serving.runtime import Recommender
from tests.models.toy import toy_model, toy_news

_FOLDER = tempfile.TemporaryDirectory(prefix="recommenders_miner_exports")


@functools.cache
def exported(name: str, **overrides) -> Path:
    """Return the folder of a toy model's export."""
    folder = Path(_FOLDER.name) / f"{len(list(Path(_FOLDER.name).iterdir()))}"
    export_model(toy_model(name, **overrides), folder)
    return folder


def recommender(name: str, table=None, **overrides) -> Recommender:
    """Return a recommender from a toy model's export, with the toy world's articles or those of a table."""
    found = Recommender.load(exported(name, **overrides))
    found.add_table(toy_news() if table is None else table)
    return found
