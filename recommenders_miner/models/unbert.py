"""UNBERT: Zhang et al., "UNBERT: User-News Matching BERT for News Recommendation", IJCAI 2021."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import InitialVectors, NewsEncoder, PLMEncoder, build_encoder
from recommenders_miner.errors import HParamsError, PresetError
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import News, SegmentPooling, Tensor
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import ClickPredictor, NewsRecommender, UserEncoder, Users

# Which article a piece belongs to: 0 none, as [CLS] and padding, 1 the candidate, 2 the newest click, 3 the one before.
CANDIDATE, NEWEST = 1, 2
STEP_FLOATS = 2**25
"""Floats of the largest activations of one evaluation step, 128 MB; beside them stand a few smaller ones."""


class UNBERTHParams(HParams):
    """Hyperparameters of UNBERT."""

    input_size: int = hparam("model", 512, "word pieces of candidate and history together", ge=8)
    news_level_layers: int = hparam("model", 2, "transformer layers of the news level", ge=1)
    news_level_pooling: Literal["attention", "mean", "nsep"] = hparam(
        "model", "attention", "how the pieces of an article become one vector"
    )


class PiecesEncoder(NewsEncoder):
    """Hands the word pieces of a title on as they are, (U, L) int32, zeros behind."""

    features = ("pieces",)
    gives_vectors = False

    def call(self, features: News, training: bool | None = None) -> News:
        """See the class for the shapes."""
        return {"pieces": features["pieces"]}


class UNBERTUserEncoder(UserEncoder):
    """Write a history as one text, `news_1 [NSEP] news_2 [NSEP] …` (Section 3.2).

    The paper is silent on the order. Here the newest click comes first, right behind the candidate, and the history is
    cut to the newest clicks that fit as a whole. A title's own `[SEP]` stands for `[NSEP]`, since the language model
    knows it.

    `room` is the most pieces of a history.
    """

    reads_vectors = False

    def __init__(self, room: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Users:
        """Return what the click predictor puts behind each candidate, zeros behind.

        Returns:
            `pieces` (B, T) int32; `news` (B, T) int32, which article each belongs to, the newest being 2; `ends` (B, M)
            int32, how many pieces there are up to the end of each news, 0 where it does not fit.
        """
        count = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
        rank = ops.arange(ops.shape(mask)[1], dtype="int32")
        newest_first = ops.maximum(count - 1 - rank, 0)
        titles = ops.take_along_axis(history["pieces"][:, :, 1:], newest_first[..., None], axis=1)  # without [CLS]
        ends = ops.cumsum(ops.sum(ops.cast(titles > 0, "int32"), axis=-1), axis=1)
        fits = (rank < count) & (ends <= self.config["room"])
        kept = (titles > 0) & fits[..., None]
        flat = (ops.shape(titles)[0], ops.shape(titles)[1] * ops.shape(titles)[2])
        pieces = ops.reshape(ops.where(kept, titles, 0), flat)
        news = ops.reshape(ops.where(kept, rank[:, None] + NEWEST, 0), flat)
        # Sorting by place, padding last, moves all pieces to the left in their order.
        width = ops.shape(pieces)[1]
        order = ops.argsort(ops.arange(width, dtype="int32") + ops.where(news > 0, 0, width), axis=1)
        order = order[:, : self.config["room"]]
        return {
            "pieces": ops.take_along_axis(pieces, order, axis=1),
            "news": ops.take_along_axis(news, order, axis=1),
            "ends": ops.where(fits, ends, 0),
        }


class UNBERTClickPredictor(ClickPredictor):
    """Reads candidate and history as one text, and matches them word by word and news by news (Sections 3.2 to 3.4).

        [CLS] candidate [SEP] news_1 [NSEP] news_2 [NSEP] …
        E   = E_token + E_position + E_segment + E_news
        H   = PLM(E),  e_w = H[CLS]                         word level
        n_j = pool of H over the pieces of article j            j = 0, the candidate, to M
        N   = Transformer([H[CLS], n_0, n_1, …, n_M]),  e_n = N[CLS]    news level
        s   = w^T [e_w; e_n] + b

    E_segment tells the candidate (0) from the user (1), in models that have segments, as BERT; E_news tells the news
    apart, is learned, and is zero for `[CLS]`. The paper's softmax over click and no click depends on the difference of
    its two logits alone, which is s. Where the sources are silent: `[SEP]` and `[NSEP]` belong to the news before them;
    the news level begins with the word level's `[CLS]`, whose output is e_n, has no positions of its own, and layers of
    the language model's kind and sizes with fresh weights.
    Of `plm` nothing but its layers is used. E_news tells `num_news` apart, the candidate included. `pooling` is
    `attention`, `mean`, or `nsep`, which takes the state of the news' own `[SEP]` or `[NSEP]`.
    """

    candidates_of_a_user = 1
    not_searchable = "it reads a history together with a candidate"

    def __init__(
        self,
        plm: PLMEncoder,
        num_news: int,
        input_size: int,
        news_level_layers: int,
        pooling: str,
        attention_dim: int,
        dropout: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plm = plm
        plm.built = True  # It is never called as a whole; its layers are built already.
        self.news_embedding = keras.layers.Embedding(
            num_news + CANDIDATE,
            plm.backbone.hidden_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),  # as BERT's own embeddings start
            dtype=self.dtype_policy,
        )
        self.pooling = None if pooling == "nsep" else SegmentPooling(pooling, attention_dim, dtype=self.dtype_policy)
        self.news_layers = [plm.new_layer(f"news_level_{index}") for index in range(news_level_layers)]
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.score = keras.layers.Dense(1, dtype="float32")

    @property
    def pretrained_weights(self) -> list[Any]:
        """The language model's weights; the news level's are new."""
        return self.plm.pretrained_weights

    @property
    def candidates_at_once(self) -> int:
        """As many as keep the largest activations, the feed-forward layer's and the attention weights, in bounds."""
        backbone, size = self.plm.backbone, self.config["input_size"]
        return max(1, STEP_FLOATS // (size * max(backbone.intermediate_dim, backbone.num_heads * size)))

    def call(self, users: Users, candidates: News, mask: Tensor = None, training: bool | None = None) -> Tensor:
        """Return scores (B, C) of what `UNBERTUserEncoder` returned, for candidates with `pieces` (B, C, L)."""
        pieces, news, ends = self._join(users, candidates["pieces"])
        real = pieces > 0
        states = self.plm.embed(
            pieces,
            training,
            # Counting real pieces alone, so that what pads a candidate's title moves nothing.
            positions=ops.maximum(ops.cumsum(ops.cast(real, "int32"), axis=1) - 1, 0),
            segments=ops.cast(news > CANDIDATE, "int32"),
            added=self.news_embedding(news) * ops.cast(news > 0, self.compute_dtype)[..., None],
        )
        first = ops.zeros_like(ends[:, :1])
        if self.pooling is None:
            matched = self.plm.read(states, real, training, places=ops.concatenate([first, ends], axis=1))
        else:
            states = self.plm.read(states, real, training)
            numbers = ops.arange(ops.shape(ends)[1], dtype="int32") + CANDIDATE
            vectors = self.pooling(states, mask=news[:, None, :] == numbers[:, None])
            matched = ops.concatenate([states[:, :1], vectors], axis=1)
        word_level = matched[:, 0]
        present = ops.concatenate([first == 0, ends > 0], axis=1)
        for layer in self.news_layers:
            matched = self.plm.run_layer(layer, matched, present, training)
        matching = self.dropout(ops.concatenate([word_level, matched[:, 0]], axis=-1), training=training)
        return ops.reshape(self.score(matching), ops.shape(candidates["pieces"])[:2])

    def _join(self, users: Users, titles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Join each candidate and its user to a text (B · C, L + T).

        Beside it come which article each piece belongs to, and where `[SEP]` and each `[NSEP]` stand, (B · C, 1 + M), 0
        where there is none.
        """
        batch, count, length = ops.shape(titles)
        titles = ops.reshape(titles, (batch * count, length))
        own = ops.cast(titles > 0, "int32")
        pieces, news, ends = (ops.repeat(users[name], count, axis=0) for name in ("pieces", "news", "ends"))
        ends = ops.where(ends > 0, length + ends - 1, 0)
        return (
            ops.concatenate([titles, pieces], axis=1),
            ops.concatenate([own * ops.cast(ops.arange(length) > 0, "int32"), news], axis=1),  # [CLS] belongs to none
            ops.concatenate([ops.maximum(ops.sum(own, axis=1, keepdims=True) - 1, 0), ends], axis=1),
        )


@register("unbert", paper="Zhang et al., UNBERT: User-News Matching BERT for News Recommendation, IJCAI", year=2021)
class UNBERTModel(BaseModel):
    """UNBERT: one language model reads candidate and history together; their match, not two vectors, is scored.

    The paper's settings as far as they are known: BERT-base, fine-tuned, batch 128, Adam with 2e-5, 2 epochs.
    unbert.yaml has those of the code that is public: 20 clicks, 300 pieces, each candidate trained by itself
    (`loss: log_loss`), 5 epochs on MIND-small, a news level of 12 layers.
    """

    hparams_class = UNBERTHParams
    news_encoder = "plm"

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        if hparams.news_encoder != "plm":
            raise HParamsError(f"news_encoder: {hparams.news_encoder!r} reads no word pieces; UNBERT needs 'plm'.")
        plm = build_encoder(hparams, vocabularies, vectors)
        if plm.distances is not None:
            problem = "knows distances between pieces alone, not places in a text, which UNBERT reads"
            raise PresetError(str(hparams.plm), f"{problem}. Take a BERT or a RoBERTa.")
        input_size = min(hparams.input_size, plm.backbone.max_sequence_length)
        room = input_size - hparams.title_size
        if room < hparams.title_size:
            raise HParamsError(
                f"input_size: {input_size} pieces, of which the language model can read "
                f"{plm.backbone.max_sequence_length}, hold no candidate and click of title_size {hparams.title_size}."
            )
        return NewsRecommender(
            news_encoder=PiecesEncoder(),
            user_encoder=UNBERTUserEncoder(room),
            click_predictor=UNBERTClickPredictor(
                plm,
                num_news=1 + hparams.his_size,
                input_size=input_size,
                news_level_layers=hparams.news_level_layers,
                pooling=hparams.news_level_pooling,
                attention_dim=hparams.attention_hidden_dim,
                dropout=hparams.dropout,
            ),
        )
