"""Hyperparameters: one YAML file and the overrides of a call, checked against what the model and its encoder declare.

The names are those of Microsoft Recommenders' `newsrec` wherever it has one. What all models share stands here; what a
model or a news encoder has of its own stands beside it, in a subclass of `HParams` that it registers.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic

from recommenders_miner.compat.settings import WITHOUT_USE
from recommenders_miner.errors import HParamsError, nearest
from recommenders_miner.storage import parse_yaml

LOGGER = logging.getLogger("recommenders_miner")

SECTIONS = ("data", "info", "model", "train")
_LARGEST = 2**31 - 1


def hparam(section: str, default: Any, help: str, **bounds: Any) -> Any:
    """Declare a hyperparameter: its section in a YAML file, default, meaning, and bounds as of pydantic's `Field`."""
    if isinstance(bounds.get("ge"), int):
        bounds.setdefault("le", _LARGEST)
    return pydantic.Field(default, description=help, json_schema_extra={"section": section}, **bounds)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _known_to_keras(activation: str) -> str:
    import keras  # takes seconds; models have imported it long before

    try:
        keras.activations.get(activation)
    except ValueError:
        raise ValueError("Keras has no such activation; it has relu, tanh and gelu, say") from None
    return activation


Activation = Annotated[str, pydantic.AfterValidator(_known_to_keras)]
"""The name of one of Keras' activations."""

Sizes = list[Annotated[int, pydantic.Field(ge=1, le=_LARGEST)]]
"""Of hidden layers, windows and the like."""

CHECKS: dict[str, Callable[[Any], object]] = {}
"""By hyperparameter, what raises `ValueError` for a value that names nothing there is; filled as `MODELS` is."""


class HParams(pydantic.BaseModel):
    """The hyperparameters that all models share, with their types, defaults and bounds.

    Read them as attributes (`hparams.batch_size`); `replace` gives a changed copy. `prepare_hparams` makes those of a
    model from a YAML file. Bad values raise `HParamsError`.
    """

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    # What is read of a log
    title_size: int = hparam(
        "data", 20, "words of a title that are read; of word pieces, [CLS] and [SEP] among them", ge=1
    )
    his_size: int = hparam("data", 50, "clicks of a history that are read, the newest", ge=1)
    npratio: int = hparam("data", 4, "non-clicked articles drawn for each click", ge=1)
    negatives: str = hparam("data", "impression", "how they are drawn: the name of a strategy of data/sampling.py")
    word_segmenter: Literal["none", "icu"] = hparam(
        "data", "none", "what finds the words of scripts without spaces, as Chinese, Japanese or Thai: icu, an extra"
    )
    min_word_count: int = hparam("data", 1, "occurrences in the training texts below which a word is unknown", ge=1)

    # Other files, and what is reported
    word_embedding: str | None = hparam(
        "info", None, "file of word vectors in GloVe's text format, .gz too; also looked for beside the training news"
    )
    wordEmb_file: str | None = hparam(
        "info", None, "word vectors in Recommenders' form: a .npy matrix whose rows wordDict_file numbers"
    )
    wordDict_file: str | None = hparam("info", None, "Recommenders' dictionary of words, JSON {name: id}")
    userDict_file: str | None = hparam("info", None, "Recommenders' dictionary of users")
    vertDict_file: str | None = hparam("info", None, "Recommenders' dictionary of categories")
    subvertDict_file: str | None = hparam("info", None, "Recommenders' dictionary of subcategories")
    metrics: list[str] = hparam("info", ["group_auc", "mean_mrr", "ndcg@5;10"], "metrics that run_eval reports")
    cache: bool = hparam("info", True, "keep what is costly to compute of the news in a folder beside them")

    # The model
    model_type: str = hparam("model", "miner", "the model to build")
    news_encoder: str = hparam("model", "self_attention", "what turns an article into a vector")
    word_emb_dim: int = hparam("model", 100, "dimension of word vectors (a word_embedding file brings its own)", ge=1)
    attention_hidden_dim: int = hparam("model", 200, "hidden dimension of additive attention", ge=1)
    cold_history: Literal["zero", "learned"] = hparam(
        "model", "zero", "what stands for the clicks of a user without any: nothing, or one trained vector"
    )
    dropout: float = hparam("model", 0.2, "share of activations dropped in training", ge=0.0, lt=1.0)

    # Training
    loss: Literal["cross_entropy_loss", "log_loss"] = hparam(
        "train", "cross_entropy_loss", "of a click against the non-clicks beside it, or of every candidate by itself"
    )
    optimizer: Annotated[Literal["adam", "amsgrad"], pydantic.BeforeValidator(_lower)] = hparam(
        "train", "adam", "Adam, or its form whose second moments never fall (Reddi et al., ICLR 2018)"
    )
    batch_size: int = hparam("train", 128, "clicks (positive samples) in a step", ge=1)
    epochs: int = hparam("train", 5, "passes over the training clicks", ge=1)
    learning_rate: float = hparam("train", 1e-3, "Adam's step size", gt=0.0)
    head_learning_rate: float | None = hparam(
        "train", None, "Adam's step size for what is not the pretrained language model, if another", gt=0.0
    )
    warmup: float = hparam("train", 0.0, "share of the steps over which step sizes rise", ge=0.0, lt=1.0)
    decay: Literal["constant", "linear"] = hparam("train", "constant", "how step sizes go on after that")
    clip_norm: float | None = hparam("train", None, "longest gradient of all weights together", gt=0.0)
    accumulate_steps: int = hparam(
        "train", 1, "steps of batch_size clicks that make one update, with the mean of their gradients", ge=1
    )
    precision: Literal["float32", "bfloat16"] = hparam("train", "float32", "numbers that are computed with")
    context: Literal["none", "gated"] = hparam(
        "model", "none", "gated: how articles do at the moment, their age and their clicks so far, is part of the score"
    )
    horizon: Annotated[float, pydantic.Field(ge=0.0)] | Literal["split"] = hparam(
        "data", 0.0, "hours that showings and clicks are held back in the context; split: none of the log evaluated on"
    )
    held_out: Literal["none", "users", "last_day"] = hparam(
        "train", "none", "training impressions that are not trained on, but evaluated on after each epoch"
    )
    held_out_share: float = hparam("train", 0.1, "share of the users that are held out, with users", gt=0.0, lt=1.0)
    select: Literal["last", "best"] = hparam(
        "train",
        "last",
        "the epoch that is taken: the best one by the first of metrics on what is held out",
    )
    patience: int | None = hparam("train", None, "epochs without a better one after which training ends", ge=1)
    clicks_per_user: int = hparam("train", 4, "clicks of a user that stand together in a step, at most", ge=1)
    length_groups: int = hparam("train", 3, "lengths that a step's titles, and histories, are padded to", ge=1)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**{name: self._as_yaml_writes(name, value) for name, value in values.items()})
        except pydantic.ValidationError as error:
            found = error.errors()[0]
            said = found.get("ctx", {}).get("error", found["msg"])  # the former of a validator of ours
            if isinstance(said, HParamsError):
                raise said from None
            key = ".".join(str(part) for part in found["loc"] if isinstance(part, str))
            raise HParamsError(f"{key}: {said}, got {reprlib.repr(found['input'])}.") from None

    @classmethod
    def _as_yaml_writes(cls, name: str, value: Any) -> Any:
        """Take what YAML and callers write for another type: "1e-4" for a number, a tuple for a list."""
        field = cls.model_fields.get(name)
        if field is not None and isinstance(value, str) and field.annotation in (float, float | None):
            with contextlib.suppress(ValueError):
                return float(value)
        return list(value) if isinstance(value, tuple) else value

    @pydantic.model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for name, check in CHECKS.items():
            try:
                check(getattr(self, name))
            except HParamsError:
                raise
            except ValueError as error:
                raise HParamsError(f"{name}: {error}") from None
        return self

    @pydantic.model_validator(mode="after")
    def _one_source_of_words(self) -> Self:
        if self.wordEmb_file and not self.wordDict_file:
            raise HParamsError("wordEmb_file: needs wordDict_file, which says whose vector each of its rows is.")
        if self.wordEmb_file and self.word_embedding:
            raise HParamsError("wordEmb_file and word_embedding both give word vectors: set one of them to null.")
        return self

    def replace(self, **overrides: Any) -> HParams:
        """Return a copy with `overrides` changed; raise `HParamsError` as `prepare_hparams` does."""
        return _of_model({**dict(self), **_known(overrides, "an override")})

    @property
    def features(self) -> tuple[str, ...]:
        """The features of articles that the model and its news encoder read, each once."""
        reads = ENCODERS[self.news_encoder].reads, MODELS[self.model_type].reads
        labels = () if self.context == "none" else ("category", "subcategory")
        return tuple(dict.fromkeys([*(name for of_one in reads for name in of_one(self)), *labels]))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the hyperparameters by section, in the shape of a YAML file."""
        fields = type(self).model_fields
        return {
            section: {name: value for name, value in self if fields[name].json_schema_extra["section"] == section}
            for section in SECTIONS
        }


# === What models and encoders have of their own ===

MODELS: dict[str, type[Any]] = {}
ENCODERS: dict[str, type[Any]] = {}
"""The classes by `model_type` and `news_encoder`, filled when the modules of `models/` and `encoders/` are imported.

Each has `hparams_class`, its hyperparameters, and `reads`, which returns the features of articles that it reads, given
hyperparameters; a model also `news_encoder`, the encoder that it has where a file names none.
"""


def _import_models() -> None:
    importlib.import_module("recommenders_miner.models")


@functools.cache
def hparams_class(model_type: str, news_encoder: str) -> type[HParams]:
    """Return the class that joins a model's hyperparameters and its news encoder's.

    Raises:
        HParamsError: there is no such model or encoder; the message lists those there are.
    """
    _import_models()
    for name, value, known in (("model_type", model_type, MODELS), ("news_encoder", news_encoder, ENCODERS)):
        if value not in known:
            raise HParamsError(f"{name}: expected one of {', '.join(known)}, got {reprlib.repr(value)}.")
    own, of_encoder = MODELS[model_type].hparams_class, ENCODERS[news_encoder].hparams_class
    if issubclass(own, of_encoder):
        return own
    return of_encoder if issubclass(of_encoder, own) else type("HParams", (own, of_encoder), {"__module__": __name__})


@functools.cache
def hparams_keys() -> frozenset[str]:
    """Return every hyperparameter that some model or encoder has."""
    _import_models()
    classes = (*MODELS.values(), *ENCODERS.values())
    return frozenset(name for of_one in classes for name in of_one.hparams_class.model_fields)


def _of_model(values: dict[str, Any]) -> HParams:
    """Make the hyperparameters of the model that `values` name; what only other models have is passed over."""
    _import_models()
    model_type = str(values.get("model_type", "miner")).lower()
    usual = MODELS[model_type].news_encoder if model_type in MODELS else ""
    news_encoder = str(values.get("news_encoder", usual))
    of_class = hparams_class(model_type, news_encoder)
    values = {**values, "model_type": model_type, "news_encoder": news_encoder}
    return of_class(**{name: value for name, value in values.items() if name in of_class.model_fields})


# === Files ===


def prepare_hparams(yaml_file: str | Path | None = None, *, scale: str = "paper", **overrides: Any) -> HParams:
    """Read hyperparameters from a YAML file and overrides.

    Microsoft Recommenders' files and overrides are read too. What they say that decides nothing here is passed over,
    and the log says so at level INFO. They do not name a news encoder; a model of Recommenders' then has the one that
    it has there. Keys that only other models have are passed over as well.

    Args:
        yaml_file: a path, or the name of a file that the package installs (`"miner.yaml"`, or just `"miner"`). A file
            in the current directory wins. Its keys stand in the sections data, info, model and train; `base:
            other.yaml` at the top takes all that the file does not say from another one.
        scale: `paper` takes the file as it is, which is the model's own publication; `fast` changes it to sizes that
            suit two cores and little data; `recommenders` to the settings of Microsoft Recommenders' notebooks.
        **overrides: values that win over the file's and the scale's; Recommenders' wordEmb_file takes the place of
            their word_embedding.

    Returns:
        The validated hyperparameters.

    Raises:
        HParamsError: the file cannot be found or parsed, a key is unknown (the nearest known one is named), a value has
            the wrong type or is out of range, or there is no such scale.
    """
    config = {} if yaml_file is None else _read_yaml(find_hparams_file(Path(yaml_file)))
    of_scale = changes_of_scale(scale, Path(yaml_file or "").stem)
    overrides = _known(overrides, "an override")
    of_words = {"word_embedding": None} if overrides.get("wordEmb_file") else {}
    return _of_model({**config, **of_scale, **of_words, **overrides})


def changes_of_scale(scale: str, name: str = "") -> dict[str, Any]:
    """Return what a scale changes in all hyperparameter files, and in the one of this name; `HParamsError` for none."""
    if scale == "paper":
        return {}
    for folder in hparams_folders():
        path = folder / "scales" / f"{scale}.yaml"
        if path.is_file():
            sections = parse_yaml(path.read_text(encoding="utf-8"))
            return {**sections["all"], **sections.get(name, {})}
    known = sorted({path.stem for folder in hparams_folders() for path in folder.glob("scales/*.yaml")})
    raise HParamsError(f"There is no scale {scale!r}: choose paper or {', '.join(known)}.")


def hparams_folders() -> list[Path]:
    """Return the folders that may hold the package's YAML files: as installed, and in a checkout."""
    package = Path(__file__).resolve().parent
    return [package / "hparams_files", package.parent / "hparams"]


def hparams_files() -> list[str]:
    """Return the names of the package's YAML files, without their ending."""
    return sorted({path.stem for folder in hparams_folders() for path in folder.glob("*.yaml")})


def find_hparams_file(name: Path, *folders: Path) -> Path:
    """Find a YAML file, its ending left out or not, by path, in some folders, or among the package's; or refuse it."""
    names = [name] if name.suffix in (".yaml", ".yml") else [Path(f"{name}.yaml"), name]
    for candidate in names:
        for folder in (*folders, Path(), *hparams_folders()):
            if os.path.isfile(folder / candidate):  # Path.is_file() raises where a name is too long
                return folder / candidate
    known = ", ".join(f"{file}.yaml" for file in hparams_files())
    raise HParamsError(f"There is no hyperparameter file {name}. The package has {known}.")


def _read_yaml(path: Path, derived: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a YAML file of sections into one flat dict of known keys; `derived` are the files that build on it."""
    if path.resolve() in derived:
        raise HParamsError(f"{path}: names itself as its base, by itself or through others.")
    try:
        config = parse_yaml(path.read_text(encoding="utf-8")) or {}
    except ValueError as error:
        raise HParamsError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(config, dict):
        raise HParamsError(f"{path}: expected the sections {', '.join(SECTIONS)}, found {type(config).__name__}.")
    base, flat = config.pop("base", None), {}
    if base is not None:
        flat = _read_yaml(find_hparams_file(Path(str(base)), path.parent), (*derived, path.resolve()))
    for section, values in config.items():
        if section not in SECTIONS or not isinstance(values, dict):
            expected = f"sections of keys and values, named {', '.join(SECTIONS)}"
            raise HParamsError(f"{path}: expected {expected}, found {reprlib.repr({section: values})}.")
        flat.update(values)
    return _known(flat, str(path))


def _known(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return `values` without Recommenders' keys that decide nothing here; refuse keys that no model has."""
    known = hparams_keys()
    for key in values:
        if key not in known and key not in WITHOUT_USE:
            meant = nearest(key, sorted(known))
            raise HParamsError(f"{where}: unknown hyperparameter {reprlib.repr(key)}. Did you mean {meant!r}?")
    without_use = [f"{key} ({WITHOUT_USE[key]})" for key in values if key in WITHOUT_USE]
    if without_use:
        LOGGER.info("%s: without use here: %s.", where, ", ".join(without_use))
    return {key: value for key, value in values.items() if key in known}
