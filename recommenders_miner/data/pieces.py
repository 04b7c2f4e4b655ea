"""Word pieces: what a pretrained language model reads instead of words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from recommenders_miner.errors import PresetError
from recommenders_miner.storage import cache_home

MINILM, MINILM_WEIGHTS = "minilm", "model.safetensors"
_TOKENIZER, _CONFIG = "tokenizer.json", "config.json"
# What KerasHub's tokenizers depend on beside their vocabulary: BERT's, then RoBERTa's, then XLM-R's.
_SETTINGS = ("lowercase", "strip_accents", "split_on_cjk", "merges", "proto")


class Pieces:
    """Turns titles into the ids of their word pieces, between the start and the end piece, `[CLS] … [SEP]` for BERT.

    An id here is one more than the tokenizer's own, so that 0 is padding whatever the language model pads with. The
    tokenizer is KerasHub's, in Python, the same on every backend; it is loaded when it is first needed.

    Args:
        preset: what KerasHub's `Tokenizer.from_preset` accepts: a name, `hf://…`, `kaggle://…`, or a local folder in
            Hugging Face's or Keras' form.
    """

    def __init__(self, preset: str) -> None:
        self.preset = str(preset)

    @cached_property
    def tokenizer(self) -> Any:
        """The KerasHub tokenizer."""
        return self._named(_load_preset, fetched_preset(self.preset))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote, all of it at once, and nothing else that the folder may hold."""
        pieces = cls(folder)
        pieces.tokenizer = pieces._named(_load_saved, folder)
        return pieces

    def _named(self, load: Callable[[str | Path], Any], place: str | Path) -> Any:
        """Return what `load` makes of a place; what it raises names the preset."""
        try:
            return load(place)
        except Exception as error:  # KerasHub lets through whatever its many readers and downloaders raise
            raise PresetError(self.preset, f"no tokenizer could be loaded: {error}") from error

    @cached_property
    def digest(self) -> str:
        """Name what the tokenizer does, in cache keys: its kind, its settings and its vocabulary."""
        settings = [type(self.tokenizer).__name__]
        settings += [f"{name}={getattr(self.tokenizer, name, None)}" for name in _SETTINGS]
        content = "\n".join([*settings, *self.tokenizer.get_vocabulary()])
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def encode(self, texts: Sequence[str], size: int) -> list[list[int]]:
        """Return the pieces of some texts, each cut to `size`, the start and the end piece included."""
        start, end = self.tokenizer.start_token_id + 1, self.tokenizer.end_token_id + 1
        tokens = self.tokenizer(list(texts)) if texts else []
        return [[*[start, *(int(piece) + 1 for piece in row)][: size - 1], end] for row in tokens]

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer as `tokenizer.json` and `assets/`, as in a Keras preset."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_to_preset(str(folder))


def _load_saved(folder: str | Path) -> Any:
    """Load what `Pieces.save` wrote; KerasHub's own reader wants the language model's config beside it."""
    import keras
    import keras_hub  # noqa: F401  # registers its classes

    path = Path(folder) / _TOKENIZER
    config = json.loads(path.read_text(encoding="utf-8"))
    tokenizer = keras.saving.deserialize_keras_object(config, safe_mode=True)
    tokenizer.load_assets(str(path.parent / "assets" / path.stem))
    return tokenizer


def _load_preset(preset: str) -> Any:
    """Load the tokenizer of a preset in whatever form."""
    import keras_hub

    if (Path(preset) / _TOKENIZER).is_file() and not (Path(preset) / _CONFIG).is_file():
        return _load_saved(preset)
    # KerasHub does not read whether a Hugging Face tokenizer strips accents, which it does by default where case goes.
    config = hugging_face_config(preset, "tokenizer_config.json")
    strips = config.get("strip_accents")
    if strips is None:
        strips = config.get("do_lower_case")
    return keras_hub.models.Tokenizer.from_preset(preset, **({"strip_accents": True} if strips else {}))


def hugging_face_config(preset: str, name: str) -> dict[str, Any]:
    """Return one of the JSON files of a preset in Hugging Face's form; an empty dict for another form."""
    path = Path(preset) / name
    if preset.startswith("hf://"):
        from huggingface_hub import hf_hub_download

        path = Path(hf_hub_download(preset.removeprefix("hf://"), name))
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def minilm_folder() -> Path:
    """Return where MiniLM lies once it is fetched."""
    return cache_home() / MINILM


def fetched_preset(preset: str) -> str:
    """Return a preset as KerasHub takes it: `minilm` becomes the folder that it was fetched to."""
    if preset != MINILM or Path(preset).is_dir():
        return preset
    folder = minilm_folder()
    if not (folder / MINILM_WEIGHTS).is_file():
        raise PresetError(preset, f"is not in {folder}. Get it by: recommenders-miner fetch minilm")
    return str(folder)
