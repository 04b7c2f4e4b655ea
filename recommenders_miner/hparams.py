"""Hyperparameters: one YAML file and the overrides of a call, checked against the list of all that exist.

The names are those of Microsoft Recommenders' `newsrec` wherever it has one.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recommenders_miner.errors import HParamsError
from recommenders_miner.storage import parse_yaml

LOGGER = logging.getLogger("recommenders_miner")

_LONGEST_NAME = 255  # of a file
_LARGEST = 2**31 - 1

SECTIONS = ("data", "info", "model", "train")

# The keys of recommenders_miner.models.MODELS, which takes long to import.
SYSTEMS = (
    "miner",
    "nrms",
    "nrms-plm",
    "lstur",
    "lstur-plm",
    "naml",
    "npa",
    "dkn",
    "hierec",
    "libfm",
    "deepfm",
    "unbert",
)

# The systems of Microsoft Recommenders' newsrec with the news encoder that each has there, which its files do not name.
RECOMMENDERS_ENCODERS = {"nrms": "self_attention", "lstur": "cnn", "naml": "multi_view", "npa": "cnn"}

# The hyperparameters that name files in Recommenders' form, read when a model is made and not needed once it is saved.
RECOMMENDERS_FILES = ("wordEmb_file", "wordDict_file", "userDict_file", "vertDict_file", "subvertDict_file")

# Keys of Recommenders' files that decide nothing here, and why.
_WITHOUT_USE = {
    "data_format": "a system reads the features that it needs",
    "iterator_type": "a system reads the features that it needs",
    "support_quick_scoring": "evaluation always encodes each news once",
    "word_size": "the dictionary says it",
    "user_num": "the dictionary says it",
    "vert_num": "the dictionary says it",
    "subvert_num": "the dictionary says it",
    "gru_unit": "the GRU is as wide as a news vector",
    "optimizer": "there is only Adam",
    "show_step": "the progress bar shows every step",
    "save_epoch": "fit with run_dir keeps every epoch",
    "method": "scores are raw",
}


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
    if value not in ("all", "none") and not re.fullmatch(r"last_n: [0-9]{1,4}", str(value)):
        raise HParamsError(f"plm_trainable: expected all, none, or 'last_n: k', got {reprlib.repr(value)}.")
    return value


def _lower(value: Any) -> Any:
    """Brings Recommenders' NRMS into the form nrms."""
    return value.lower() if isinstance(value, str) else value


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
    body_size: int = _key("data", 50, "words of an abstract that are read", minimum=1)
    entity_size: int = _key("data", 5, "entities of a title that are read", minimum=1)
    min_word_count: int = _key("data", 1, "occurrences in the training texts below which a word is unknown", minimum=1)
    max_terms: int = _key("data", 50_000, "terms of the TF-IDF features, the most frequent", minimum=1)

    # === Info: other files, and what is reported ===
    word_embedding: str | None = _key(
        "info", None, "file of word vectors in GloVe's text format, .gz too; also looked for beside the training news"
    )
    entity_embedding: str | None = _key(
        "info", None, "file of entity vectors in MIND's format; also looked for beside the training news"
    )
    entity_graph: str | None = _key(
        "info", None, "file of triples, a line `head relation tail`, whose neighbours are an entity's context"
    )
    wordEmb_file: str | None = _key(
        "info", None, "word vectors in Recommenders' form: a .npy matrix whose rows wordDict_file numbers"
    )
    wordDict_file: str | None = _key("info", None, "Recommenders' dictionary of words, JSON {name: id}")
    userDict_file: str | None = _key("info", None, "Recommenders' dictionary of users")
    vertDict_file: str | None = _key("info", None, "Recommenders' dictionary of categories")
    subvertDict_file: str | None = _key("info", None, "Recommenders' dictionary of subcategories")
    metrics: list[str] = _key("info", ["group_auc", "mean_mrr", "ndcg@5;10"], "metrics that run_eval reports")
    cache: bool = _key("info", True, "keep what is costly to compute of the news in a folder beside them")

    # === Model: shared parts ===
    model_type: str = _key("model", "miner", "the system to build", choices=SYSTEMS, parse=_lower)
    news_encoder: str = _key(
        "model",
        "self_attention",
        "what turns a news into a vector",
        choices=("self_attention", "cnn", "multi_view", "knowledge", "kcnn", "plm", "tfidf"),
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
    plm_depth: int | None = _key("model", None, "use its lowest layers only, this many", minimum=1)

    # === Model: CNN news encoders ===
    filter_num: int = _key("model", 400, "filters of the title CNN", minimum=1)
    window_size: int = _key("model", 3, "words under one filter", minimum=1)
    cnn_activation: str = _key("model", "relu", "activation of the title CNN")
    vert_emb_dim: int = _key("model", 100, "dimension of category embeddings", minimum=1)
    subvert_emb_dim: int = _key("model", 100, "dimension of subcategory embeddings", minimum=1)

    # === Model: NAML and NPA ===
    dense_activation: str = _key("model", "relu", "activation behind NAML's category embeddings and NPA's queries")
    user_emb_dim: int = _key("model", 50, "dimension of NPA's user embeddings", minimum=1)

    # === Model: DKN ===
    window_sizes: list[int] = _key("model", [1, 2, 3], "words under the filters of the knowledge-aware CNN")
    layer_sizes: list[int] = _key("model", [300], "hidden layers of DKN's click predictor and of DeepFM's deep part")

    # === Model: LSTUR ===
    type: str = _key("model", "ini", "how LSTUR joins its two user vectors", choices=("ini", "con"))
    user_dropout: float = _key(
        "model", 0.5, "probability of hiding a user's long-term vector in training", minimum=0.0, maximum=1.0
    )

    # === Model: HieRec ===
    count_emb_dim: int = _key("model", 128, "dimension of the embeddings of click counts", minimum=1)
    topic_weight: float = _key("model", 0.15, "λ_t, weight of the topic level", minimum=0.0, maximum=1.0)
    subtopic_weight: float = _key("model", 0.7, "λ_s, weight of the subtopic level", minimum=0.0, maximum=1.0)

    # === Model: UNBERT ===
    input_size: int = _key("model", 512, "word pieces of candidate and history together", minimum=8)
    news_level_layers: int = _key("model", 2, "transformer layers of the news level", minimum=1)
    news_level_pooling: str = _key(
        "model", "attention", "how the pieces of a news become one vector", choices=("attention", "mean", "nsep")
    )

    # === Model: LibFM and DeepFM ===
    factor_dim: int = _key("model", 16, "dimension of a feature's factor", minimum=1)

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
    loss: str = _key(
        "train",
        "cross_entropy_loss",
        "of a click against the non-clicks beside it, or of every candidate by itself",
        choices=("cross_entropy_loss", "log_loss"),
    )
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
    clicks_per_user: int = _key(
        "train", 4, "clicks of a user that stand together in a step, at most, to encode the user once", minimum=1
    )
    length_groups: int = _key(
        "train", 3, "lengths that a step's titles, and its histories, are padded to; more waste less", minimum=1
    )

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            object.__setattr__(self, spec.name, _checked(spec, getattr(self, spec.name)))
        if self.wordEmb_file and not self.wordDict_file:
            raise HParamsError("wordEmb_file: needs wordDict_file, which says whose vector each of its rows is.")
        if self.wordEmb_file and self.word_embedding:
            raise HParamsError("wordEmb_file and word_embedding both give word vectors: set one of them to null.")

    def replace(self, **overrides: Any) -> HParams:
        """Returns a copy with `overrides` changed; raises `HParamsError` as the constructor does."""
        return dataclasses.replace(self, **_known(overrides, "an override"))

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


def prepare_hparams(yaml_file: str | Path | None = None, *, scale: str = "paper", **overrides: Any) -> HParams:
    """Reads hyperparameters from a YAML file and overrides.

    Microsoft Recommenders' files and overrides are read too. What they say that decides nothing here is passed over,
    and the log says so at level INFO. They do not name a news encoder; a system of Recommenders' then has the one that
    it has there.

    Args:
        yaml_file: a path, or the name of a file that the package installs (`"miner.yaml"`, or just `"miner"`). A file
            in the current directory wins. Its keys stand in the sections data, info, model and train; `base:
            other.yaml` at the top takes all that the file does not say from another one.
        scale: `paper` takes the file as it is; `fast` changes it to sizes that suit two cores and little data.
        **overrides: values that win over the file's and the scale's.

    Returns:
        The validated hyperparameters.

    Raises:
        HParamsError: the file cannot be found or parsed, a key is unknown (the nearest known one is named), a value has
            the wrong type or is out of range, or there is no such scale.
    """
    config = {} if yaml_file is None else _read_yaml(find_hparams_file(yaml_file))
    values = {**config, **scale_overrides(scale, yaml_file or ""), **_known(overrides, "an override")}
    encoder = RECOMMENDERS_ENCODERS.get(str(values.get("model_type")).lower())
    if encoder and "news_encoder" not in values:
        values["news_encoder"] = encoder
    return HParams(**values)


def scale_overrides(scale: str, name: str | Path) -> dict[str, Any]:
    """Returns what a scale changes in a hyperparameter file.

    Args:
        scale: `paper` changes nothing; any other names a file of `scales/`, which holds a section `all` and one for
            each hyperparameter file that needs more, by its name.
        name: name or path of the hyperparameter file.

    Raises:
        HParamsError: there is no such scale.
    """
    if scale == "paper":
        return {}
    for folder in hparams_folders():
        path = folder / "scales" / f"{scale}.yaml"
        if path.is_file():
            sections = parse_yaml(path.read_text(encoding="utf-8"))
            return {**sections["all"], **sections.get(Path(name).stem, {})}
    known = sorted({path.stem for folder in hparams_folders() for path in folder.glob("scales/*.yaml")})
    raise HParamsError(f"There is no scale {scale!r}: choose paper or {', '.join(known)}.")


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


def _find_beside(path: Path, base: Any) -> Path:
    if not isinstance(base, str) or not Path(base).name or len(Path(base).name) > _LONGEST_NAME:
        raise HParamsError(f"{path}: base: expected the name of another hyperparameter file, got {reprlib.repr(base)}.")
    beside = path.parent / base
    return beside if beside.is_file() else find_hparams_file(base)


def _read_yaml(path: Path, derived: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Reads a YAML file of sections into one flat dict of known keys; `derived` are the files that build on it."""
    if path.resolve() in derived:
        raise HParamsError(f"{path}: names itself as its base, by itself or through others.")
    try:
        config = parse_yaml(path.read_text(encoding="utf-8")) or {}
    except ValueError as error:
        raise HParamsError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(config, dict):
        raise HParamsError(f"{path}: expected the sections {', '.join(SECTIONS)}, found {type(config).__name__}.")
    base = config.pop("base", None)
    flat: dict[str, Any] = {}
    if base is not None:
        flat = _read_yaml(_find_beside(path, base), (*derived, path.resolve()))
    for section, values in config.items():
        if section not in SECTIONS:
            raise HParamsError(f"{path}: unknown section {section!r}; the sections are {', '.join(SECTIONS)}.")
        if not isinstance(values, dict):
            raise HParamsError(f"{path}: section {section!r} should hold keys and values.")
        flat.update(values)
    return _known(flat, str(path))


def _known(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns `values` without Recommenders' keys that decide nothing here; refuses keys that neither has."""
    known = [spec.name for spec in dataclasses.fields(HParams)]
    for key in values:
        if key not in known and key not in _WITHOUT_USE:
            nearest = difflib.get_close_matches(str(key)[:_LONGEST_NAME], known, n=1, cutoff=0.0)[0]
            raise HParamsError(f"{where}: unknown hyperparameter {reprlib.repr(key)}. Did you mean {nearest!r}?")
    if str(values.get("optimizer", "adam")).lower() != "adam":
        raise HParamsError(f"{where}: optimizer: expected adam, the only one there is, got {values['optimizer']!r}.")
    without_use = [f"{key} ({_WITHOUT_USE[key]})" for key in values if key in _WITHOUT_USE]
    if without_use:
        LOGGER.info("%s: without use here: %s.", where, ", ".join(without_use))
    return {key: value for key, value in values.items() if key in known}


def _checked(spec: dataclasses.Field, value: Any) -> Any:
    """Returns `value` as the field's type, or raises HParamsError saying what was expected."""
    expected = typing.get_type_hints(HParams)[spec.name]
    if "parse" in spec.metadata:
        value = spec.metadata["parse"](value)
    converted = _converted(value, expected)
    if converted is None and value is not None:
        name = expected.__name__ if isinstance(expected, type) else str(expected)
        raise HParamsError(f"{spec.name}: expected {name}, got {reprlib.repr(value)} ({type(value).__name__}).")
    if isinstance(converted, int | float) and abs(converted) > _LARGEST:
        raise HParamsError(f"{spec.name}: expected at most {_LARGEST:,}, got {reprlib.repr(value)}.")
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
            raise HParamsError(
                f"{spec.name}: expected {wording.format(bounds[bound_name])}, got {reprlib.repr(value)}."
            )
    return converted


def _converted(value: Any, expected: Any) -> Any:
    """Converts where nothing is lost (1 to 1.0, YAML's "1e-4" to a float); None where `value` is of another type."""
    if typing.get_origin(expected) in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(expected) if option is not type(None)]
        return None if value is None else _converted(value, options[0])
    if typing.get_origin(expected) is list:
        [member] = typing.get_args(expected)
        return list(value) if isinstance(value, list | tuple) and all(isinstance(v, member) for v in value) else None
    if expected is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return None
    if expected is int and isinstance(value, bool):
        return None
    return value if isinstance(value, expected) else None
