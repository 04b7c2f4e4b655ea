"""A pretrained language model as news encoder."""

from __future__ import annotations

import functools
import hashlib
import re
import reprlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import keras
import numpy as np
import pydantic
from keras import ops

from recommenders_miner.data.features import Feature, NewsFeatures, declare
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders.base import NewsEncoder, news_encoder
from recommenders_miner.encoders.initial_vectors import InitialVectors
from recommenders_miner.encoders.pretrained import BACKBONES, KNOWN, load_backbone
from recommenders_miner.encoders.whole_table import NetworkPart, encode_table, encoded_batches
from recommenders_miner.errors import HParamsError, PresetError
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import AdditiveAttention, News, Tensor, call_without_keeping, weights_digest

TEXTS = {"title": "", "abstract": "abstract_", "body": "body_"}
"""The texts of an article, and what the names of their features begin with."""

# What frozen layers give, made by `PLMEncoder.prepare`.
for _prefix in TEXTS.values():
    declare(Feature(f"{_prefix}plm_vector", "vector", needs=("pieces",)))
    declare(Feature(f"{_prefix}plm_states", "tokens", needs=("pieces",), told_by=f"{_prefix}pieces"))

_KEPT_AT_ONCE = 8192  # vectors


def _trainable(value: Tensor) -> Tensor:
    """Bring plm_trainable into its one form: `last_n: 2` is a mapping in YAML, and a string elsewhere."""
    if isinstance(value, dict) and len(value) == 1:
        [(key, count)] = value.items()
        value = f"{key}: {count}"
    if value not in ("all", "none") and not re.fullmatch(r"last_n: [0-9]{1,4}", str(value)):
        raise HParamsError(f"plm_trainable: expected all, none, or 'last_n: k', got {reprlib.repr(value)}.")
    return value


class PLMHParams(HParams):
    """Hyperparameters of a pretrained language model as news encoder."""

    plm: str | None = hparam("model", None, "KerasHub preset, hf://…, kaggle://…, a local folder, or minilm")
    plm_trainable: Annotated[str, pydantic.BeforeValidator(_trainable)] = hparam(
        "model", "all", "how much of it is trained: all, none, or 'last_n: k', the upper k layers"
    )
    plm_pooling: Literal["cls", "mean", "attention"] = hparam(
        "model", "cls", "how its outputs become the article's vector: the first, their mean, or by additive attention"
    )
    plm_texts: list[Literal["title", "abstract", "body"]] = hparam(
        "model", ["title"], "what it reads of an article; the vectors of several texts stand side by side", min_length=1
    )
    text_size: int = hparam("data", 64, "word pieces of an abstract or a body that are read", ge=1)
    plm_dropout: float = hparam("model", 0.1, "dropout within it", ge=0.0, lt=1.0)
    plm_depth: int | None = hparam("model", None, "use its lowest layers only, this many", ge=1)
    news_dim: int | None = hparam("model", None, "dimension of a projection behind it", ge=1)
    remat: bool = hparam("train", False, "keep a layer's inputs alone and compute the rest again for the gradients")

    @property
    def plm_layers(self) -> int | str:
        """How many upper layers of the language model are trained: a number, or "all", the embeddings too."""
        if self.plm_trainable == "all":
            return "all"
        return 0 if self.plm_trainable == "none" else int(self.plm_trainable.removeprefix("last_n: "))


@news_encoder("plm", PLMHParams)
class PLMEncoder(NewsEncoder):
    """A title through a pretrained language model: `h = PLM(T)[CLS]` (MINER, Section 3.2); or several texts.

    The lower part of the model may be frozen. Its outputs are then computed once for a whole table, by `prepare`, and
    training and evaluation go on from them: from the states below the first trained layer, or from the finished vectors
    where neither a layer nor the pooling is trained.

    Args:
        backbone: a KerasHub backbone: BERT, DistilBERT, RoBERTa, XLM-R or DeBERTa-v3.
        trainable_layers: "all" trains the embeddings too; a number, that many of the upper layers; 0 none.
        pooling: "cls", the first position; "mean", the mean over the pieces; or "attention", additive attention over
            them (Wu et al., "Empowering News Recommendation with Pre-trained Language Models", SIGIR 2021, Section
            3.4).
        attention_dim: hidden dimension of that attention.
        texts: which of title, abstract and body are read, each by itself, by the one language model. Their vectors
            stand side by side, zeros for a text that an article lacks.
        news_dim: dimension of a linear projection behind the model; None leaves it out.
        dropout: share of the vector's numbers dropped in training.
        activation: replaces the feed-forward activation of every layer. KerasHub's BERT has the tanh approximation of
            GELU, "gelu_tanh", while most models on the Hugging Face hub were trained with the exact one, "gelu".
        layer_norm_epsilon: replaces the epsilon of every layer normalisation, which KerasHub has one of for each kind.
        remat: whether training keeps the inputs of a layer alone, and computes what stands between again for the
            gradients: a third more work, a tenth or less of the memory.

    It reads `pieces` (U, L) int32, one more than the tokenizer's ids, zeros behind; with some layers frozen also
    `plm_states` (U, L, hidden) float32; with nothing to train, `plm_vector` (U, hidden) float32 alone.

    Raises:
        PresetError: the backbone is of another kind, or has fewer layers than are to be trained.
    """

    def __init__(
        self,
        backbone: keras.Model,
        trainable_layers: int | str = "all",
        pooling: str = "cls",
        news_dim: int | None = None,
        dropout: float = 0.0,
        activation: str | None = None,
        layer_norm_epsilon: float | None = None,
        remat: bool = False,
        attention_dim: int = 200,
        texts: Sequence[str] = ("title",),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not {base.__name__ for base in type(backbone).__mro__} & set(BACKBONES):
            raise PresetError(backbone.name, f"is a {type(backbone).__name__}. {KNOWN}")
        self.backbone = backbone
        count = len(backbone.transformer_layers)
        self.num_frozen = 0 if trainable_layers == "all" else count - int(trainable_layers)
        if self.num_frozen < 0:
            raise PresetError(backbone.name, f"has {count} layers: plm_trainable cannot be last_n: {trainable_layers}.")
        self.is_frozen = trainable_layers == 0 and pooling != "attention"
        self.is_cached = trainable_layers != "all"
        # Trainable is what `call` reads the output of, and the upper layers alone where some are frozen.
        if hasattr(backbone, "pooled_dense"):
            backbone.pooled_dense.trainable = False
        if self.is_cached:
            upper = {id(layer) for layer in backbone.transformer_layers[self.num_frozen :]}
            for layer in backbone.layers:
                layer.trainable = id(layer) in upper
        if activation is not None:
            for layer in backbone.transformer_layers:
                layer.activation = layer._feedforward_intermediate_dense.activation = _in_float32(activation)
        if layer_norm_epsilon is not None:
            backbone.embeddings_layer_norm.epsilon = layer_norm_epsilon
            if self.distances is not None:
                self.distances.layer_norm.epsilon = layer_norm_epsilon
            for layer in backbone.transformer_layers:
                norms = layer._self_attention_layer_norm, layer._feedforward_layer_norm
                layer.layer_norm_epsilon = norms[0].epsilon = norms[1].epsilon = layer_norm_epsilon
        self.pooling, self.prefixes = pooling, [TEXTS[text] for text in texts]
        self.attention = AdditiveAttention(attention_dim, dtype=self.dtype_policy) if pooling == "attention" else None
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.projection = keras.layers.Dense(news_dim, dtype=self.dtype_policy) if news_dim else None

    @classmethod
    def from_preset(
        cls, preset: str, plm_dropout: float = 0.1, depth: int | None = None, **arguments: Any
    ) -> PLMEncoder:
        """Make an encoder with the weights of a preset: see `load_backbone`.

        Raises:
            PresetError: there is no such preset, or it cannot be read, or is of a kind that cannot be used.
        """
        backbone, own = load_backbone(preset, dropout=plm_dropout)
        if depth is not None:
            backbone = _lowest_layers(backbone, depth)
        return cls(backbone, **own, **arguments)

    @classmethod
    def reads(cls, hparams: HParams) -> tuple[str, ...]:
        """Return the features that such an encoder is made of."""
        return tuple(f"{TEXTS[text]}pieces" for text in hparams.plm_texts)

    @classmethod
    def pretrained(cls, hparams: HParams) -> PLMEncoder | None:
        """Load the language model that the hyperparameters name."""
        if not hparams.plm:
            return None
        options = {"pooling": hparams.plm_pooling, "news_dim": hparams.news_dim, "dropout": hparams.dropout}
        options |= {"remat": hparams.remat, "attention_dim": hparams.attention_hidden_dim, "texts": hparams.plm_texts}
        preset = hparams.plm, hparams.plm_dropout, hparams.plm_depth
        return cls.from_preset(*preset, trainable_layers=hparams.plm_layers, **options)

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        if vectors.plm is None:
            raise HParamsError("news_encoder: 'plm' needs plm, the name or folder of a pretrained language model.")
        return vectors.plm

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that `call` reads."""
        names = ("plm_vector",) if self.is_frozen else ("pieces", "plm_states") if self.is_cached else ("pieces",)
        return tuple(f"{prefix}{name}" for prefix in self.prefixes for name in names)

    @property
    def dim(self) -> int:
        """Dimension of a news vector."""
        return self.config["news_dim"] or len(self.prefixes) * self.backbone.hidden_dim

    @property
    def distances(self) -> keras.layers.Layer | None:
        """What all layers of DeBERTa read beside the states; None for models that know a piece's place instead."""
        return getattr(self.backbone, "relative_embeddings", None)

    @property
    def pretrained_weights(self) -> list[Any]:
        """The language model's weights, trained or frozen."""
        return self.backbone.weights

    def call(self, features: News, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        vectors = [ops.cast(self._vector(features, prefix, training), self.compute_dtype) for prefix in self.prefixes]
        vector = self.dropout(ops.concatenate(vectors, axis=-1) if len(vectors) > 1 else vectors[0], training=training)
        return vector if self.projection is None else self.projection(vector)

    def _vector(self, features: News, prefix: str, training: bool | None) -> Tensor:
        """Return the vectors (U, hidden) of one text of each article."""
        if self.is_frozen:
            return features[f"{prefix}plm_vector"]
        pieces = features[f"{prefix}pieces"]
        mask = pieces > 0
        states = features[f"{prefix}plm_states"] if self.is_cached else self.embed(pieces, training)
        states = self._run(slice(self.num_frozen, None), states, mask, training)
        return self._pool(states, mask) if self.attention is None else self.attention(states, mask=mask)

    def embed(
        self,
        pieces: Tensor,
        training: bool | None = None,
        positions: Any = None,
        segments: Any = None,
        added: Any = None,
    ) -> Tensor:
        """Return the states below the first layer, (U, L, hidden): the sum of embeddings of pieces (U, L), normalised.

        `positions` (U, L) are the places in a text where they are not 0, 1, 2, …; `segments` (U, L) are 0 in the first
        text and 1 in the second, for BERT, which alone embeds them; `added` (U, L, hidden) is added to the embeddings.
        """
        backbone, tokens = self.backbone, ops.maximum(pieces - 1, 0)
        if hasattr(backbone, "segment_embedding"):
            vectors = backbone.token_embedding(tokens)
            places = backbone.position_embedding(vectors, positions=positions)
            segments = backbone.segment_embedding(ops.zeros_like(tokens) if segments is None else segments)
            vectors = backbone.embeddings_add((vectors, places, segments))
        elif self.distances is not None:
            vectors = backbone.token_embedding(tokens)
        else:
            vectors = backbone.embeddings(tokens, positions=positions)
        vectors = vectors if added is None else vectors + added
        return backbone.embeddings_dropout(backbone.embeddings_layer_norm(vectors), training=training)

    def read(self, states: Tensor, mask: Tensor, training: bool | None = None, places: Tensor = None) -> Tensor:
        """Return the states above the last layer, of those below the first one, (U, L, hidden).

        Dropout is never on in frozen layers. With `places` (U, P) the last layer is run there alone: (U, P, hidden).
        """
        layers = self.backbone.transformer_layers
        whole = len(layers) - (places is not None)
        states = self._run(slice(min(self.num_frozen, whole)), states, mask)
        states = self._run(slice(self.num_frozen, whole), states, mask, training)
        if places is None:
            return states
        return _layer_at(layers[-1], states, mask, places, training and self.num_frozen < len(layers))

    def _run(self, layers: slice, states: Tensor, mask: Tensor, training: bool | None = None) -> Tensor:
        for layer in self.backbone.transformer_layers[layers]:
            states = self.run_layer(layer, states, mask, training)
        return states

    def run_layer(self, layer: keras.layers.Layer, states: Tensor, mask: Tensor, training: bool | None) -> Tensor:
        """Run a layer of the language model, or of `new_layer`, over states (U, L, hidden); mask (U, L)."""
        inputs, options = [ops.cast(states, self.compute_dtype)], {"padding_mask": mask, "training": training}
        if self.distances is not None:
            inputs.append(self.distances(inputs[0]))
            del options["training"]  # which DeBERTa's layers leave to Keras
        if training and self.config["remat"] and layer.built:
            return call_without_keeping(layer, *inputs, **options)
        return layer(*inputs, **options)

    def new_layer(self, name: str) -> keras.layers.Layer:
        """Return an untrained layer of the kind and the sizes of the language model's own."""
        own = self.backbone.transformer_layers[-1]
        same = ("dropout", "activation", "layer_norm_epsilon", "kernel_initializer")
        options = {option: getattr(own, option) for option in same}
        return type(own)(own.intermediate_dim, own.num_heads, **options, dtype=own.dtype_policy, name=name)

    def _pool(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "cls":
            return states[:, 0] * ops.cast(mask[:, :1], states.dtype)
        states, weights = ops.cast(states, "float32"), ops.cast(mask, "float32")[..., None]
        return ops.sum(states * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)

    # === What is computed once ===

    def prepare(self, features: NewsFeatures) -> dict[str, np.ndarray]:
        """Return what `call` reads, for a whole table; the frozen layers' outputs from the cache or computed here."""
        found, frozen = {}, self._frozen_digest() if self.is_cached else ""
        for prefix in self.prefixes:
            pieces = self._checked(features[f"{prefix}pieces"])
            if not self.is_frozen:
                found[f"{prefix}pieces"] = pieces
            if self.is_frozen:
                # In parts, so that whoever is stopped among many thousands of texts goes on there.
                parts = [pieces[first : first + _KEPT_AT_ONCE] for first in range(1, len(pieces), _KEPT_AT_ONCE)]
                parts = [np.concatenate([pieces[:1], part]) for part in parts]  # the padding article stands first
                vectors = [self._kept(features, f"{prefix}plm_vector", part, frozen) for part in parts]
                whole = [vectors[0], *(part[1:] for part in vectors[1:])]
                found[f"{prefix}plm_vector"] = np.concatenate(whole) if len(whole) > 1 else whole[0]
            elif self.is_cached:
                found[f"{prefix}plm_states"] = self._kept(features, f"{prefix}plm_states", pieces, frozen)
        return found

    def _checked(self, pieces: np.ndarray) -> np.ndarray:
        """Return the pieces of a table (N+1, L); those that the model has no vector for would be any vector on JAX."""
        name, known, longest = (getattr(self.backbone, n) for n in ("name", "vocabulary_size", "max_sequence_length"))
        if pieces.max(initial=0) > known:
            raise PresetError(name, f"has {known} word pieces, fewer than its tokenizer: they are of different models.")
        if pieces[:, longest:].any():
            raise HParamsError(f"title_size, text_size: {name} reads {longest} word pieces of a text at most.")
        return pieces

    def _kept(self, features: NewsFeatures, name: str, pieces: np.ndarray, frozen: str) -> np.ndarray:
        digest = hashlib.blake2b(f"{frozen} {pieces.shape}".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(pieces))
        return features.kept(name, digest.hexdigest(), lambda: self.frozen_outputs(pieces))

    def frozen_outputs(self, pieces: np.ndarray) -> np.ndarray:
        """Run the frozen layers over a table's pieces (N+1, L).

        It gives vectors (N+1, hidden) where all layers are frozen, else states (N+1, L, hidden), zero at padding.
        """
        part = NetworkPart(self, lambda features: self.frozen_step(**features))
        shape = pieces.shape[:1] if self.is_frozen else pieces.shape
        table = np.zeros((*shape, self.backbone.hidden_dim), "float32")
        for rows, batch in encoded_batches(part, {"pieces": pieces}, batch_size=256):
            place = rows if self.is_frozen else (rows, slice(batch["output"].shape[1]))
            table[place] = batch["output"]
        return table

    def frozen_step(self, pieces: Tensor) -> News:
        """Return, as `output`, what `frozen_outputs` gives of some pieces (U, L)."""
        mask = pieces > 0
        states = ops.cast(self._run(slice(self.num_frozen), self.embed(pieces), mask), "float32")
        return {"output": self._pool(states, mask) if self.is_frozen else states * ops.cast(mask, "float32")[..., None]}

    def title_vectors(self, pieces: np.ndarray) -> np.ndarray:
        """Return the language model's own vectors, (N+1, hidden) float32, of a table's pieces (N+1, L).

        They are the means over the pieces where it is a trained attention that pools.
        """

        def vectors(features: News) -> News:
            states, mask = self.embed(features["pieces"]), features["pieces"] > 0
            return {"output": ops.cast(self._pool(self._run(slice(None), states, mask), mask), "float32")}

        return encode_table(NetworkPart(self, vectors), {"pieces": pieces}, batch_size=256)["output"]

    def _frozen_digest(self) -> str:
        """Name what frozen layers do: by their weights, and how vectors are pooled."""
        settings = (self.num_frozen, self.is_frozen and self.pooling, self.dtype_policy.name)
        settings += (self.config["activation"], self.config["layer_norm_epsilon"])
        return f"{settings} {weights_digest(weight for weight in self.backbone.weights if not weight.trainable)}"

    def example(self) -> dict[str, Any]:
        """Return what `call` reads, of one article of two pieces."""
        hidden = self.backbone.hidden_dim
        shapes = {"pieces": (1, 2), "plm_states": (1, 2, hidden), "plm_vector": (1, hidden)}
        of = {name: next(kind for kind in shapes if name.endswith(kind)) for name in self.features}
        return {name: ops.ones(shapes[kind], "int32" if kind == "pieces" else None) for name, kind in of.items()}


def _layer_at(layer: keras.layers.Layer, states: Tensor, mask: Tensor, places: Tensor, training: bool | None) -> Tensor:
    """What a layer of KerasHub's returns, at some places (U, P) alone, whose cost it is: (U, P, hidden)."""
    chosen = ops.take_along_axis(states, places[..., None], axis=1)
    attended = layer._self_attention_layer(
        query=chosen, value=states, attention_mask=ops.expand_dims(mask, 1), training=training
    )
    attended = chosen + layer._self_attention_dropout(attended, training=training)
    attended = layer._self_attention_layer_norm(attended)
    inner = layer._feedforward_intermediate_dense(attended)
    inner = layer._feedforward_dropout(layer._feedforward_output_dense(inner), training=training)
    return layer._feedforward_layer_norm(attended + inner)


def _lowest_layers(backbone: keras.Model, depth: int) -> keras.Model:
    """Return a smaller language model: the embeddings and the lowest `depth` layers, with copies of their weights."""
    if depth > backbone.num_layers:
        raise PresetError(backbone.name, f"has {backbone.num_layers} layers: plm_depth cannot be {depth}.")
    lowest = type(backbone).from_config({**backbone.get_config(), "num_layers": depth})
    for layer in lowest.layers:
        if layer.weights:
            layer.set_weights(backbone.get_layer(layer.name).get_weights())
    return lowest


def _in_float32(activation: str) -> Callable[[Any], Any]:
    """An activation that is computed in float32: on a CPU, TensorFlow's GELU of bfloat16 takes four times as long."""
    tanh = functools.partial(keras.activations.gelu, approximate=True)
    function = tanh if activation == "gelu_tanh" else keras.activations.get(activation)
    return lambda values: ops.cast(function(ops.cast(values, "float32")), values.dtype)
