"""Hyperparameters: one YAML file and the overrides of a call, checked against the list of all that exist.

The names are those of Microsoft Recommenders' `newsrec` wherever it has one.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from recommenders_miner.errors import HParamsError

SECTIONS = ("data", "info", "model", "train")


def _key(section: str, default: Any, help: str, **bounds: Any) -> Any:
    """Declares a hyperparameter: its section in the YAML file, default, meaning, and bounds on its value."""
    metadata = {"section": section, "help": help, **bounds}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def _trainable(value: Any) -> Any:
    """Brings plm_trainable into its one form: `last_n: 2` is a mapping in YAML, and a string elsewhere."""
    if isinstance(value, dict) and len(value) == 1:
        [(key, count)] = value.items()
        value = f"{key}: {count}"
    if value not in ("all", "none") and not re.fullmatch(r"last_n: \d+", str(value)):
        raise HParamsError(f"plm_trainable: expected all, none, or 'last_n: k', got {value!r}.")
    return value


@dataclass(frozen=True, kw_only=True)
class HParams:
    """Every hyperparameter of every model, with its type, default and bounds.

    Read them as attributes (`hparams.batch_size`); `replace` gives a changed copy. `prepare_hparams` makes one from
    a YAML file. Bad values raise `HParamsError`.
    """

    # === Data: what is read of a log ===
    title_size: int = _key("data", 20, "words of a title that are read", minimum=1)
    his_size: int = _key("data", 50, "clicks of a history that are read, the newest", minimum=1)
    npratio: int = _key("data", 4, "non-clicked news drawn for each click", minimum=1)
    entity_size: int = _key("data", 5, "entities of a title that are read", minimum=1)
    min_word_count: int = _key("data", 1, "occurrences in the training titles below which a word is unknown", minimum=1)

    # === Info: other files, and what is reported ===
    word_embedding: str | None = _key(
        "info", None, "file of word vectors in GloVe's text format, .gz too; also looked for beside the training news"
    )
    entity_embedding: str | None = _key(
        "info", None, "file of entity vectors in MIND's format; also looked for beside the training news"
    )
    metrics: list[str] = _key("info", ["group_auc", "mean_mrr", "ndcg@5;10"], "metrics that run_eval reports")
    cache: bool = _key("info", True, "keep what is costly to compute of the news in a folder beside them")

    # === Model: shared parts ===
    model_type: str = _key("model", "miner", "the system to build: miner, nrms, nrms-plm, lstur or lstur-plm")
    news_encoder: str = _key(
        "model",
        "self_attention",
        "what turns a title into a vector",
        choices=("self_attention", "cnn", "knowledge", "plm"),
    )
    news_dim: int | None = _key(
        "model", None, "dimension of a projection behind the knowledge or plm encoder", minimum=1
    )
    word_emb_dim: int = _key(
        "model", 100, "dimension of word vectors (a word_embedding file brings its own)", minimum=1
    )
    head_num: int = _key("model", 20, "heads of self-attention", minimum=1)
    head_dim: int = _key("model", 20, "dimension of a head", minimum=1)
    attention_hidden_dim: int = _key("model", 200, "hidden dimension of additive attention", minimum=1)
    dropout: float = _key("model", 0.2, "share of activations dropped in training", minimum=0.0, below=1.0)

    # === Model: pretrained language models ===
    plm: str | None = _key("model", None, "KerasHub preset, hf://…, kaggle://…, a local folder, or minilm")
    plm_trainable: str = _key(
        "model", "all", "how much of it is trained: all, none, or 'last_n: k', the upper k layers", parse=_trainable
    )
    plm_pooling: str = _key("model", "cls", "which of its outputs is the news", choices=("cls", "mean"))
    plm_dropout: float = _key("model", 0.1, "dropout within it", minimum=0.0, below=1.0)

    # === Model: CNN news encoders ===
    filter_num: int = _key("model", 400, "filters of the title CNN", minimum=1)
    window_size: int = _key("model", 3, "words under one filter", minimum=1)
    cnn_activation: str = _key("model", "relu", "activation of the title CNN")
    vert_emb_dim: int = _key("model", 100, "dimension of category embeddings", minimum=1)
    subvert_emb_dim: int = _key("model", 100, "dimension of subcategory embeddings", minimum=1)

    # === Model: LSTUR ===
    type: str = _key("model", "ini", "how LSTUR joins its two user vectors", choices=("ini", "con"))
    user_dropout: float = _key(
        "model", 0.5, "probability of hiding a user's long-term vector in training", minimum=0.0, maximum=1.0
    )

    # === Model: MINER ===
    num_interests: int = _key("model", 32, "interest vectors of a user, K", minimum=1)
    code_dim: int = _key("model", 200, "dimension of a context code", minimum=1)
    aggregation: str = _key(
        "model", "weighted", "how the interests' scores become one", choices=("max", "mean", "weighted")
    )
    category_weighting: bool = _key("model", True, "weight the history by its categories' likeness to the candidate's")
    category_embedding: str = _key(
        "model", "learned", "where category embeddings come from", choices=("learned", "glove", "plm")
    )
    disagreement_weight: float = _key("model", 0.8, "β of the disagreement regulariser; 0 leaves it out", minimum=0.0)

    # === Train ===
    batch_size: int = _key("train", 128, "clicks (positive samples) in a step", minimum=1)
    epochs: int = _key("train", 5, "passes over the training clicks", minimum=1)
    learning_rate: float = _key("train", 1e-3, "Adam's step size", above=0.0)
    head_learning_rate: float | None = _key(
        "train", None, "Adam's step size for what is not the pretrained language model, if another", above=0.0
    )
    warmup: float = _key("train", 0.0, "share of the steps over which step sizes rise", minimum=0.0, below=1.0)
    decay: str = _key("train", "constant", "how step sizes go on after that", choices=("constant", "linear"))
    clip_norm: float | None = _key("train", None, "longest gradient of all weights together", above=0.0)
    accumulate_steps: int = _key("train", 1, "steps whose gradients are averaged into one update", minimum=1)
    precision: str = _key("train", "float32", "numbers that are computed with", choices=("float32", "bfloat16"))
    length_groups: int = _key(
        "train", 3, "lengths that a step's titles, and its histories, are padded to; more waste less", minimum=1
    )

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            object.__setattr__(self, spec.name, _checked(spec, getattr(self, spec.name)))

    def replace(self, **overrides: Any) -> HParams:
        """Returns a copy with `overrides` changed; raises `HParamsError` as the constructor does."""
        _refuse_unknown(overrides, "an override")
        return dataclasses.replace(self, **overrides)

    @property
    def plm_layers(self) -> int | str:
        """How many upper layers of the language model are trained: a number, or "all", the embeddings too."""
        if self.plm_trainable == "all":
            return "all"
        return 0 if self.plm_trainable == "none" else int(self.plm_trainable.removeprefix("last_n: "))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Returns the hyperparameters by section, in the shape of a YAML file."""
        return {
            section: {
                spec.name: getattr(self, spec.name)
                for spec in dataclasses.fields(self)
                if spec.metadata["section"] == section
            }
            for section in SECTIONS
        }


def prepare_hparams(yaml_file: str | Path | None = None, **overrides: Any) -> HParams:
    """Reads hyperparameters from a YAML file and overrides.

    Args:
        yaml_file: a path, or the name of a file that the package installs (`"miner.yaml"`, or just `"miner"`). A file
            in the current directory wins. Its keys stand in the sections data, info, model and train; `base:
            other.yaml` at the top takes all that the file does not say from another one.
        **overrides: values that win over the file's.

    Returns:
        The validated hyperparameters.

    Raises:
        HParamsError: the file cannot be found or parsed, a key is unknown (the nearest known one is named), or a value
            has the wrong type or is out of range.
    """
    config = {} if yaml_file is None else _read_yaml(find_hparams_file(yaml_file))
    _refuse_unknown(overrides, "an override")
    return HParams(**{**config, **overrides})


def hparams_folders() -> list[Path]:
    """Returns the folders that may hold the package's YAML files: as installed, and in a checkout."""
    package = Path(__file__).resolve().parent
    return [package / "hparams_files", package.parent / "hparams"]


def find_hparams_file(name: str | Path) -> Path:
    """Finds a YAML file by path, or by the name of one that the package installs.

    Raises:
        HParamsError: there is no such file; the message lists those that the package has.
    """
    name = Path(name)
    names = [name] if name.suffix in (".yaml", ".yml") else [name.with_name(name.name + ".yaml"), name]
    for candidate in names:
        if candidate.is_file():
            return candidate
        for folder in hparams_folders():
            if (folder / candidate).is_file():
                return folder / candidate
    known = sorted({path.name for folder in hparams_folders() for path in folder.glob("*.yaml")})
    raise HParamsError(f"There is no hyperparameter file {name}. The package has {', '.join(known)}.")


def _find_beside(path: Path, base: str) -> Path:
    beside = path.parent / base
    if beside.resolve() == path.resolve():
        raise HParamsError(f"{path}: names itself as its base.")
    return beside if beside.is_file() else find_hparams_file(base)


def _read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file of sections into one flat dict of known keys."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HParamsError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(config, dict):
        raise HParamsError(f"{path}: expected the sections {', '.join(SECTIONS)}, found {type(config).__name__}.")
    base = config.pop("base", None)
    flat: dict[str, Any] = {} if base is None else _read_yaml(_find_beside(path, base))
    for section, values in config.items():
        if section not in SECTIONS:
            raise HParamsError(f"{path}: unknown section {section!r}; the sections are {', '.join(SECTIONS)}.")
        if not isinstance(values, dict):
            raise HParamsError(f"{path}: section {section!r} should hold keys and values.")
        flat.update(values)
    _refuse_unknown(flat, str(path))
    return flat


def _refuse_unknown(values: Mapping[str, Any], where: str) -> None:
    known = [spec.name for spec in dataclasses.fields(HParams)]
    for key in values:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
            raise HParamsError(f"{where}: unknown hyperparameter {key!r}. Did you mean {nearest!r}?")


def _checked(spec: dataclasses.Field, value: Any) -> Any:
    """Returns `value` as the field's type, or raises HParamsError saying what was expected."""
    expected = typing.get_type_hints(HParams)[spec.name]
    if "parse" in spec.metadata:
        value = spec.metadata["parse"](value)
    converted = _converted(value, expected)
    if converted is None and value is not None:
        name = expected.__name__ if isinstance(expected, type) else str(expected)
        raise HParamsError(f"{spec.name}: expected {name}, got {value!r} ({type(value).__name__}).")
    bounds = spec.metadata
    checks = {
        "choices": ("one of {}", lambda bound: converted in bound),
        "minimum": ("at least {}", lambda bound: converted >= bound),
        "maximum": ("at most {}", lambda bound: converted <= bound),
        "above": ("above {}", lambda bound: converted > bound),
        "below": ("below {}", lambda bound: converted < bound),
    }
    for bound_name, (wording, holds) in checks.items():
        if bound_name in bounds and converted is not None and not holds(bounds[bound_name]):
            raise HParamsError(f"{spec.name}: expected {wording.format(bounds[bound_name])}, got {value!r}.")
    return converted


def _converted(value: Any, expected: Any) -> Any:
    """Converts where nothing is lost (1 to 1.0, YAML's "1e-4" to a float); None where `value` is of another type."""
    if typing.get_origin(expected) in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(expected) if option is not type(None)]
        return None if value is None else _converted(value, options[0])
    if typing.get_origin(expected) is list:
        return list(value) if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value) else None
    if expected is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            return None
    if expected is int and isinstance(value, bool):
        return None
    return value if isinstance(value, expected) else None
