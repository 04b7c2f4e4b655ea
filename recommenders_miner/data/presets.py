"""Where fetched word vectors and language models lie, for those that read them."""

from __future__ import annotations

from pathlib import Path

from recommenders_miner.errors import PresetError
from recommenders_miner.storage import cache_home

MINILM = "minilm"
MINILM_WEIGHTS = "model.safetensors"


def glove_folder() -> Path:
    """Return the folder of GloVe's files in the user's cache, where models look for word vectors."""
    return cache_home() / "glove"


def minilm_folder() -> Path:
    """Return MiniLM's folder in the user's cache."""
    return cache_home() / MINILM


def fetched_preset(preset: str) -> str:
    """Return a preset as KerasHub takes it: `minilm` becomes the folder that it was fetched to.

    Raises:
        PresetError: MiniLM has not been fetched.
    """
    if preset != MINILM or Path(preset).is_dir():
        return preset
    folder = minilm_folder()
    if not (folder / MINILM_WEIGHTS).is_file():
        raise PresetError(preset, f"is not in {folder}. Get it by: recommenders-miner fetch minilm")
    return str(folder)
