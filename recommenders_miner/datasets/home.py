"""The user's folder for what is fetched once and serves every project."""

from __future__ import annotations

import os
from pathlib import Path


def home_folder() -> Path:
    """Returns RECOMMENDERS_MINER_HOME, by default `recommenders_miner` in the user's cache; it may not exist yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("RECOMMENDERS_MINER_HOME") or cache / "recommenders_miner")


def glove_folder() -> Path:
    """Returns where GloVe's files lie, a folder of the user's; models look for word vectors there."""
    return home_folder() / "glove"
