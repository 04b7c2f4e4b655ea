"""Word pieces: what a pretrained language model reads instead of words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from recommenders_miner.errors import PresetError
from recommenders_miner.storage import cache_home

MINILM, MINILM_WEIGHTS = "minilm", "model.safetensors"
TO_SAFETENSORS = (
    "Write it anew with transformers: python -c \"from transformers import AutoModel, AutoTokenizer; m = 'MODEL'; "
    "[c.from_pretrained(m).save_pretrained('FOLDER') for c in (AutoModel, AutoTokenizer)]\", and give FOLDER."
)
"""How what this package does not read becomes what it reads."""

_TOKENIZER, _CONFIG = "tokenizer.json", "config.json"
_SMALL = ("*.json", "*.txt", "*.model", "assets/*")  # of a repository: what configs and tokenizers are made of
_WEIGHTS = ("*.safetensors", "*.weights.h5")
_AT_ONCE = 4096  # texts

# Hugging Face's classes of tokenizers that are known here, without "Tokenizer" and "Fast" in their names.
_WORD_PIECES = ("Bert", "DistilBert", "Electra")
_FROM_JSON = (*_WORD_PIECES, "Roberta", "XLMRoberta", "Camembert", "DebertaV2", "PreTrained", "TokenizersBackend")
_OF_MODELS = dict.fromkeys(("bert", "distilbert", "electra"), "Bert")
_OF_MODELS |= {"roberta": "Roberta", "xlm-roberta": "XLMRoberta", "deberta-v2": "DebertaV2"}
"""What a model that names no tokenizer has."""
_ROLES = ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token")
_BERTS, _ROBERTAS = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"), ("<s>", "</s>", "<pad>", "<unk>", "<mask>")


class Pieces:
    """Turns titles into the ids of their word pieces, between the start and the end piece, `[CLS] … [SEP]` for BERT.

    An id here is one more than the tokenizer's own, so that 0 is padding whatever the language model pads with. The
    tokenizer is that of Hugging Face's `tokenizers`, the same on every backend; it is loaded when it is first needed.

    Args:
        preset: a name of KerasHub's, `hf://…`, `kaggle://…`, or a local folder in Hugging Face's or Keras' form.
    """

    def __init__(self, preset: str) -> None:
        self.preset = str(preset)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            PresetError: there is none, or it is of a kind that is not known here.
        """
        return self._named(_load_preset, self.preset)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote, all of it at once, and nothing else that the folder may hold."""
        pieces = cls(folder)
        pieces.tokenizer = pieces._named(_load_saved, str(folder))
        return pieces

    def _named(self, load: Callable[[str], Tokenizer], place: str) -> Tokenizer:
        """Return what `load` makes of a place; what it raises names the preset."""
        try:
            tokenizer = load(place)
            if tokenizer.num_special_tokens_to_add(False) != 2:
                raise ValueError("it puts no start and end piece around a text.")
        except PresetError:
            raise
        except Exception as error:  # the readers and downloaders let through whatever they come across
            raise PresetError(self.preset, f"no tokenizer could be loaded: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def digest(self) -> str:
        """Name what the tokenizer does, in cache keys: all of it is in its own file."""
        return hashlib.blake2b(self.tokenizer.to_str().encode(), digest_size=16).hexdigest()

    def encode(self, texts: Sequence[str], size: int) -> list[list[int]]:
        """Return the pieces of some texts, each cut to `size`, the start and the end piece included."""
        rows = []
        for first in range(0, len(texts), _AT_ONCE):
            for found in self.tokenizer.encode_batch_fast(list(texts[first : first + _AT_ONCE])):
                row = [piece + 1 for piece in found.ids]
                rows.append(row if len(row) <= size else [*row[: size - 1], row[-1]])
        return rows

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer as `tokenizer.json`, in Hugging Face's form."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(Path(folder) / _TOKENIZER), pretty=False)


# === Where a preset lies ===


def minilm_folder() -> Path:
    """Return where MiniLM lies once it is fetched."""
    return cache_home() / MINILM


def fetched_preset(preset: str) -> str:
    """Return a preset, but for `minilm` the folder that it was fetched to."""
    if preset != MINILM or Path(preset).is_dir():
        return preset
    folder = minilm_folder()
    if not (folder / MINILM_WEIGHTS).is_file():
        raise PresetError(preset, f"is not in {folder}. Get it by: recommenders-miner fetch minilm")
    return str(folder)


def preset_folder(preset: str, weights: bool = False) -> str:
    """Return the folder of a preset, that of `hf://…` being downloaded, with or without weights; else its name."""
    preset = fetched_preset(preset)
    if not preset.startswith("hf://"):
        return preset
    import huggingface_hub

    patterns = [*_SMALL, *(_WEIGHTS if weights else ())]
    return huggingface_hub.snapshot_download(preset.removeprefix("hf://"), allow_patterns=patterns)


def hugging_face_config(folder: str) -> dict[str, Any]:
    """Return config.json of a folder in Hugging Face's form; an empty dict for another form.

    Raises:
        PresetError: config.json does not say of which kind the model is.
    """
    config = _read(Path(folder) / _CONFIG)
    if config and not config.keys() & {"model_type", "class_name"}:
        raise PresetError(folder, 'config.json has no model_type; add the one of its kind, as "model_type": "bert".')
    return config if "model_type" in config else {}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


# === Tokenizers ===


def _load_preset(preset: str) -> Tokenizer:
    folder = Path(preset_folder(preset))
    if not folder.is_dir():
        import keras_hub

        return _of_keras(keras_hub.models.Tokenizer.from_preset(preset), is_named=True)
    saved, config = _read(folder / _TOKENIZER), hugging_face_config(str(folder))
    if not config and saved:
        return _load_saved(str(folder))
    options = {**_read(folder / "special_tokens_map.json"), **_read(folder / "tokenizer_config.json")}
    named = options.get("tokenizer_class") or config.get("tokenizer_class") or ""
    kind = named.removesuffix("Fast").removesuffix("Tokenizer") or _OF_MODELS.get(config.get("model_type"), "")
    if saved:
        if named and kind not in _FROM_JSON and not named.endswith("Fast"):
            raise ValueError(_unknown(named))
        return _from_json(saved, kind, options)
    return _from_vocabulary(folder, kind, options)


def _load_saved(folder: str) -> Tokenizer:
    """Load a tokenizer.json by itself: what `Pieces.save` wrote, or a Keras preset with its assets."""
    path = Path(folder) / _TOKENIZER
    config = json.loads(path.read_text(encoding="utf-8"))
    if "class_name" not in config:
        return Tokenizer.from_file(str(path))
    import keras
    import keras_hub  # noqa: F401  # registers its classes

    tokenizer = keras.saving.deserialize_keras_object(config, safe_mode=True)
    tokenizer.load_assets(str(path.parent / "assets" / path.stem))
    return _of_keras(tokenizer)


def _from_json(saved: dict[str, Any], kind: str, options: Mapping[str, Any]) -> Tokenizer:
    """Make the tokenizer of a tokenizer.json; what transformers lets tokenizer_config.json overrule is overruled."""
    normalizer, splitter = saved.get("normalizer") or {}, saved.get("pre_tokenizer") or {}
    if kind in _WORD_PIECES and normalizer.get("type") == "BertNormalizer":
        normalizer |= _bert_options(options)
    if kind == "Roberta" and splitter.get("type") == "ByteLevel":
        splitter["add_prefix_space"] = options.get("add_prefix_space", False)
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    if tokenizer.post_processor is None and kind in (*_WORD_PIECES, "Roberta", "XLMRoberta"):
        tokenizer.post_processor = _ends(tokenizer, _names(options, _BERTS if kind in _WORD_PIECES else _ROBERTAS))
    return tokenizer


def _from_vocabulary(folder: Path, kind: str, options: Mapping[str, Any]) -> Tokenizer:
    """Make the tokenizer of a folder without tokenizer.json, as transformers does of the files before it."""
    files = {"Roberta": ("vocab.json", "merges.txt"), "XLMRoberta": ("sentencepiece.bpe.model",)}
    files |= dict.fromkeys(_WORD_PIECES, ("vocab.txt",))
    paths = [folder / name for name in files.get(kind, ())]
    if kind and not paths:
        raise ValueError(_unknown(f"{kind}Tokenizer"))
    if missing := [path.name for path in paths if not path.is_file()] or not paths:
        instead = f" nor {' and '.join(missing)}" if paths else ""
        raise ValueError(f"{folder} has no {_TOKENIZER}{instead}. {TO_SAFETENSORS}")
    if kind == "Roberta":
        vocabulary, merges = models.BPE.read_file(*map(str, paths))
        made = _byte_pairs(vocabulary, merges, options.get("add_prefix_space", False))
    elif kind == "XLMRoberta":
        made = _sentence_pieces(paths[0].read_bytes())
    else:
        lines = paths[0].read_text(encoding="utf-8").removesuffix("\n").split("\n")
        unknown = _names(options, _BERTS)[3]
        made = _word_pieces(lines, unknown=unknown, **_bert_options(options))
    own = _read(folder / "added_tokens.json")
    own = {**{place: {"content": piece} for piece, place in own.items()}, **options.get("added_tokens_decoder", {})}
    return _finished(made, _names(options, _BERTS if kind in _WORD_PIECES else _ROBERTAS), own)


def _of_keras(tokenizer: Any, is_named: bool = False) -> Tokenizer:
    """Make a tokenizer that does what one of KerasHub's does.

    Those that KerasHub has a name for keep accents, though the models' authors removed them where they removed case.
    """
    if hasattr(tokenizer, "suffix_indicator"):
        options = {"lowercase": tokenizer.lowercase, "handle_chinese_chars": tokenizer.split_on_cjk}
        options["strip_accents"] = tokenizer.strip_accents or (is_named and tokenizer.lowercase)
        return _finished(_word_pieces(tokenizer.get_vocabulary(), unknown=tokenizer.oov_token, **options), _BERTS)
    if hasattr(tokenizer, "merges"):
        merges = [tuple(merge.split(" ")) for merge in tokenizer.merges]
        return _finished(_byte_pairs(dict(tokenizer.vocabulary), merges, tokenizer.add_prefix_space), _ROBERTAS)
    if type(tokenizer).__name__ == "XLMRobertaTokenizer":
        return _finished(_sentence_pieces(tokenizer.proto), _ROBERTAS)
    if type(tokenizer).__name__ == "DebertaV3Tokenizer":
        return _finished(_sentence_pieces(tokenizer.proto, of_xlmr=False), _BERTS)
    raise ValueError(_unknown(type(tokenizer).__name__))


def _word_pieces(vocabulary: Sequence[str], unknown: str, **options: Any) -> Tokenizer:
    """BERT's: `options` are those of `BertNormalizer`."""
    places = {piece: place for place, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(places, unk_token=unknown, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=True, **options)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _byte_pairs(vocabulary: dict[str, int], merges: list[tuple[str, str]], prefix_space: bool) -> Tokenizer:
    """RoBERTa's."""
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    return tokenizer


def _sentence_pieces(proto: bytes, of_xlmr: bool = True) -> Tokenizer:
    """DeBERTa-v3's, of a SentencePiece model, or XLM-R's, whose first three pieces give way to four of its own."""
    from sentencepiece import sentencepiece_model_pb2

    read = sentencepiece_model_pb2.ModelProto.FromString(proto)
    if read.trainer_spec.model_type != read.trainer_spec.UNIGRAM:
        raise ValueError("its SentencePiece model is no unigram model.")
    vocabulary, unknown = [(piece.piece, piece.score) for piece in read.pieces], read.trainer_spec.unk_id
    if of_xlmr:
        first, last = ("<s>", "<pad>", "</s>", "<unk>"), ("<mask>",)
        vocabulary = [*((piece, 0.0) for piece in first), *vocabulary[3:], *((piece, 0.0) for piece in last)]
        unknown = first.index("<unk>")
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown, byte_fallback=False))
    if charsmap := read.normalizer_spec.precompiled_charsmap:
        tokenizer.normalizer = normalizers.Precompiled(charsmap)
    spaces = pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(spaces))
    return tokenizer


def _finished(
    tokenizer: Tokenizer, names: Sequence[str], own: Mapping[str | int, Mapping[str, Any]] | None = None
) -> Tokenizer:
    """Add the pieces that stand for something, `names` in the order of `_ROLES`, and those that a model has added."""
    for place, token in sorted((own or {}).items(), key=lambda item: int(item[0])):
        tokenizer.add_tokens([AddedToken(**token)])
        if tokenizer.token_to_id(token["content"]) != int(place):
            raise ValueError(f"the added piece {token['content']!r} cannot stand at {place}.")
    if missing := [name for name in (*names[:2], names[3]) if tokenizer.token_to_id(name) is None]:
        raise ValueError(f"its vocabulary has no {', '.join(missing)}.")
    tokenizer.add_special_tokens(list(names))
    tokenizer.post_processor = _ends(tokenizer, names)
    return tokenizer


def _ends(tokenizer: Tokenizer, names: Sequence[str]) -> TemplateProcessing:
    """What puts the start and the end piece around a text."""
    ends = [(name, tokenizer.token_to_id(name)) for name in names[:2]]
    return TemplateProcessing(single=f"{names[0]} $A {names[1]}", special_tokens=ends)


def _bert_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `BertNormalizer`, of those of a tokenizer_config.json; the defaults are those of transformers."""
    return {
        "lowercase": options.get("do_lower_case", True),
        "strip_accents": options.get("strip_accents"),  # None: where case goes
        "handle_chinese_chars": options.get("tokenize_chinese_chars", True),
    }


def _names(options: Mapping[str, Any], defaults: Sequence[str]) -> list[str]:
    """Return the pieces that stand for something, in the order of `_ROLES`."""
    found = [options.get(role) or default for role, default in zip(_ROLES, defaults, strict=True)]
    return [piece if isinstance(piece, str) else piece["content"] for piece in found]


def _unknown(name: str) -> str:
    return (
        f"it is a {name}, which this package does not have, and another would give other word pieces. "
        f"Where transformers has a fast one, it writes the {_TOKENIZER} that is lacking: {TO_SAFETENSORS}"
    )
