"""The network that all models share: news encoder, user encoder, click predictor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from recommenders_miner.data.context import CONTEXT
from recommenders_miner.data.counts import Past
from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import NewsEncoder
from recommenders_miner.errors import NoVectorError
from recommenders_miner.layers import CompositeLayer, ConfiguredLayer, News, Tensor
from recommenders_miner.models.parallel import everywhere

_DESCRIPTION, _COUNTS = "model.json", "counts.npz"

Users = Any
"""Whatever stands for B users: an array, or a structure of arrays, of B rows."""


class Interests(NamedTuple):
    """Click scores taken apart by K interests of a user, `s = Σ_k weight_k · score_k`; both are (B, C, K) float32."""

    names: Sequence[str]
    scores: Tensor
    weights: Tensor


class UserEncoder(CompositeLayer):
    """What turns a history into a user; each paper's own is a subclass.

    It does so in two steps. `encode_history` makes of a history what no candidate has a part in, once for all of the
    user's candidates. `bind_candidates` makes of it what the click predictor reads for some candidates, all of whose
    features it may use. Where training needs more than this cheaper form gives, as MINER's regulariser does, the
    encoder is `candidate_aware` and its `call` is the direct form.

    Attributes:
        columns: features of articles that it reads beside the news encoder's output, as `category`.
        candidate_aware: whether training calls the direct form with the candidates.
        reads_vectors: whether it reads the vectors of clicked articles, so that one may stand for an empty history.
        users_at_once: histories that evaluation encodes in one step.
    """

    columns: tuple[str, ...] = ()
    candidate_aware = False
    reads_vectors = True
    users_at_once = 512

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Users:
        """Encode histories without a candidate.

        Args:
            history: the article at each position: `vector` (B, M, d) or what else the news encoder returns, and
                `columns`.
            mask: (B, M) bool, true at a click.
            user: (B,) int32 user ids.
            training: whether dropout is on.

        Returns:
            Whatever stands for the user: an array, or a structure of arrays, of B rows. Axis 1 of an array may be as
            long as the history or a title, if zeros behind change nothing.
        """
        raise NotImplementedError

    def bind_candidates(self, state: Users, candidates: News) -> Users:
        """Make users of B encoded histories as the click predictor reads them for C candidates each.

        They are users (B, …), or one for each candidate, (B, C, …).
        """
        return state

    def for_categories(self, state: Users, category: Tensor) -> Users:
        """Fit B encoded histories to P candidate categories each, (B, P) int32; return users (B, P, …)."""
        raise NotImplementedError

    def user_vectors(self, history: News, mask: Tensor, user: Tensor) -> Tensor:
        """Return one array of users (B, …) that no candidate has a part in, to look at or to search with.

        It is what `encode_history` returns, or `vector` of it.

        Raises:
            NoVectorError: there is none, since all depends on the candidate.
        """
        state = self.encode_history(history, mask, user)
        if isinstance(state, dict) and "vector" not in state:
            model = type(self).__name__.removesuffix("UserEncoder")
            raise NoVectorError(f"{model}'s user depends on the candidate: there is no user vector by itself.")
        return state["vector"] if isinstance(state, dict) else state

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor | None:
        """Say which clicks the user's interests are made of; the arguments are those of `call`.

        Returns:
            The share that each interest has of each click, (B, C, K, M), or (B, 1, K, M) where no candidate has a part
            in it; shares add up to 1, padding has none. None where this encoder pays no attention to clicks.
        """
        return None

    def users_for(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Users:
        """Return the users as the click predictor reads them, without dropout; the arguments are those of `call`."""
        users = self(history, mask, user, candidates)
        return users if self.candidate_aware else self.bind_candidates(users, candidates)

    def call(self, history: News, mask: Tensor, user: Tensor, candidates: News, training: bool | None = None) -> Users:
        """Return the encoded histories, or where `candidate_aware` the users of each sample and candidate."""
        return self.encode_history(history, mask, user, training=training)


class ClickPredictor(CompositeLayer):
    """What turns users and candidates into scores; each kind is a subclass.

    Attributes:
        columns: features of a candidate that it reads beside the news encoder's output.
        candidates_at_once: candidates that evaluation scores in one step, at most, by what each takes of memory.
        candidates_of_a_user: candidates in one row of such a step, at most. Rows are padded to equal lengths: 1, which
            pads nothing, is for predictors to which a candidate costs much more than to repeat its user.
        not_searchable: why a large pool cannot be searched by the inner products of users (`UserEncoder.user_vectors`)
            and the articles' `vector`; empty where these are the score, or at least a part that finds what scores high.
    """

    columns: tuple[str, ...] = ()
    candidates_at_once = 65_536
    candidates_of_a_user = 65_536
    not_searchable = "its click predictor scores a user and a candidate together"
    pretrained_weights: Sequence[Any] = ()

    def call(self, users: Users, candidates: News, mask: Tensor | None = None, training: bool | None = None) -> Tensor:
        """Score candidates.

        Args:
            users: what the user encoder returned, (B, …) or (B, C, …).
            candidates: the candidates: `vector` (B, C, d) or what else the news encoder returns, and `columns`.
            mask: (B, C) bool, false for padding. A candidate's score must not depend on others; losses may.
            training: whether losses are added.

        Returns:
            (B, C) float32.
        """
        raise NotImplementedError

    def searched(self) -> ClickPredictor:
        """Return the part by whose inner products a large pool is searched: this predictor, or one inside it."""
        return self

    def prepare(self, news: News) -> News:
        """Return what `call` would make of each article by itself, by name, so that it is done once an article."""
        return {}

    def interests(self, users: Users, candidates: News) -> Interests | None:
        """Take the scores that `call` gives apart; None where a user is one interest, whose score is the score."""
        return None

    def attention_weights(self, users: Users, candidates: News) -> Tensor | None:
        """Return what `UserEncoder.attention_weights` does, where it is the candidate that attends to the clicks."""
        return None


class DotProductPredictor(ClickPredictor):
    """The dot product of the user's and the candidate's vector, as in most models."""

    not_searchable = ""

    def call(self, users: Users, candidates: News, mask: Tensor | None = None, training: bool | None = None) -> Tensor:
        """Return scores (B, C), float32, of users (B, d) or (B, C, d)."""
        users, vectors = ops.cast(users, "float32"), ops.cast(candidates["vector"], "float32")
        if len(users.shape) == 3:
            return ops.sum(users * vectors, axis=-1)
        return ops.squeeze(ops.matmul(vectors, users[:, :, None]), axis=-1)


class NewsRecommender(ConfiguredLayer, keras.Model):
    """Scores the candidates of impressions: `s = click_predictor(user_encoder(history), news_encoder(candidate))`.

    It is a plain Keras model on the batches of `TrainingBatches`: compile it with a categorical cross-entropy from
    logits and it trains as Eq. 6 of the MINER paper says (NCE over one click and the non-clicks beside it). Each
    distinct article of a batch is encoded once, whatever the number of places where it stands. Where a part
    names columns of `CONTEXT`, candidates have them as of their impression.

    Args:
        news_encoder: from a dict of features, U rows each, to vectors (U, d), or to a dict of arrays.
        user_encoder: from histories to users.
        click_predictor: from users and candidates to scores; their dot product where left out.
        learns_cold: whether a history without clicks is read as one click on an article with a trained vector, which
            starts at zero; otherwise it is read as it is.

    Attributes:
        description: what a saved network says of its model, as JSON; filled by `saving.save_model`.
        vocabularies: of a saved network, what names its ids.
        counts: of a saved network that reads a context, what a later log's goes on from.
    """

    def __init__(
        self,
        news_encoder: NewsEncoder,
        user_encoder: UserEncoder,
        click_predictor: ClickPredictor | None = None,
        learns_cold: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # context and term weights stay float32, as they do in evaluation
        self.cold = self.add_weight((news_encoder.dim,), "zeros", name="cold") if learns_cold else None
        self.news_encoder, self.user_encoder = news_encoder, user_encoder
        self.click_predictor = click_predictor or DotProductPredictor()
        self.description: dict[str, Any] = {}
        self.vocabularies: Vocabularies | None = None
        self.counts: Past | None = None
        self._loads = 0

    @property
    def weights_version(self) -> tuple[int, int]:
        """What is another wherever weights were loaded or trained since: how often, and by how many updates."""
        return self._loads, int(self.optimizer.iterations) if getattr(self, "optimizer", None) else 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Features of articles that user encoder and click predictor read beside the news encoder's output."""
        return tuple(name for name in self._read if name not in CONTEXT)

    @property
    def context(self) -> tuple[str, ...]:
        """The columns of `CONTEXT` that they read, by which scores depend on when a candidate is shown."""
        return tuple(name for name in self._read if name in CONTEXT)

    @property
    def _read(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.user_encoder.columns, *self.click_predictor.columns)))

    @property
    def pretrained_weights(self) -> list[Any]:
        """Weights that come from a pretrained language model."""
        return [*self.news_encoder.pretrained_weights, *self.click_predictor.pretrained_weights]

    def prepare(self, features: NewsFeatures) -> dict[str, np.ndarray]:
        """Return the features that the network reads of a table's articles, by name, N+1 rows each."""
        return {**self.news_encoder.prepare(features), **{name: features[name] for name in self.columns}}

    def encode_news(self, features: News, training: bool | None = None) -> News:
        """Encode U articles: `vector` (U, d), or the arrays that the news encoder returns, and `columns`."""
        encoded = self.news_encoder(features, training=training)
        news = encoded if isinstance(encoded, dict) else {"vector": encoded}
        return {**news, **{name: features[name] for name in self.columns}}

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Tensor:
        """Score a batch in the form of `TrainingBatches`; (B, C) float32, -1e9 for padding candidates."""
        news = everywhere(_joined([self.encode_news(features, training=training) for features in inputs["news"]]))
        for hop in range(self.news_encoder.hops):
            related = news[self.news_encoder.related]
            news = self.news_encoder.relate(news, ops.take(news[self.news_encoder.message], related, axis=0), hop)
        samples = inputs["samples"]
        users = _joined([self._users(news, sample, training) for sample in samples])
        names = ["candidates", "context"] if self.context else ["candidates"]
        positions, *context = _joined([[sample[name] for name in names] for sample in samples])
        candidates, mask = {**_rows(news, positions), **self._named(*context)}, positions > 0
        if not self.user_encoder.candidate_aware:
            users = self.user_encoder.bind_candidates(users, candidates)
        scores = self.click_predictor(users, candidates, mask=mask, training=training)
        return ops.where(mask, scores, -1e9)

    def _users(self, news: News, sample: News, training: bool | None) -> Users:
        """Encode the user of each sample: each distinct one once, or for each sample's candidates where they matter."""
        positions, user, row = sample["history"], sample["user"], sample["row"]
        if self.user_encoder.candidate_aware:
            positions, user = ops.take(positions, row, axis=0), ops.take(user, row, axis=0)
        candidates = {**_rows(news, sample["candidates"]), **self._named(sample.get("context"))}
        users = self.user_encoder(*self.clicked(news, positions), user, candidates, training=training)
        return users if self.user_encoder.candidate_aware else _rows(everywhere(users), row)

    def _named(self, context: Tensor | None = None) -> News:
        """Return by name the columns of a context (B, C, columns), those of `self.context`."""
        return {name: context[..., place] for place, name in enumerate(self.context)}

    def clicked(self, news: News, positions: Tensor) -> tuple[News, Tensor]:
        """Return the articles of histories (B, M), positions in the news, and at which of them there is one."""
        return self.with_cold(_rows(news, positions), positions > 0)

    def with_cold(self, history: News, mask: Tensor) -> tuple[News, Tensor]:
        """Put the trained vector, where there is one, into histories without clicks; returns both arguments."""
        if self.cold is None:
            return history, mask
        first = ops.arange(ops.shape(mask)[1]) == 0
        places = ops.logical_not(ops.any(mask, axis=1, keepdims=True)) & first
        return self.news_encoder.put(history, places, self.cold), mask | places

    # === The steps of evaluation, in which articles, users and candidates are apart ===

    def encode_table(self, features: News) -> News:
        """Encode U articles as `encode_news` does, with what the click predictor makes of each beside."""
        news = self.encode_news(features)
        return {**news, **self.click_predictor.prepare(news)}

    def encode_users(self, news: News, history: Tensor, user: Tensor) -> Users:
        """Encode users, whose histories (R, M) are positions in the news: see `UserEncoder.encode_history`."""
        return self.user_encoder.encode_history(*self.clicked(news, history), user)

    def user_vectors(self, news: News, history: Tensor, user: Tensor) -> Tensor:
        """Encode users to look at: see `UserEncoder.user_vectors`."""
        return self.user_encoder.user_vectors(*self.clicked(news, history), user)

    def score_encoded(
        self, news: News, users: Users, user: Tensor, candidates: Tensor, context: Tensor | None = None
    ) -> Tensor:
        """Score candidates (B, C), positions in the news, for some rows (B,) of users that are encoded already.

        `context` (B, C, columns) has the columns that `self.context` names.
        """
        gathered = {**_rows(news, candidates), **self._named(context)}
        bound = self.user_encoder.bind_candidates(_rows(users, user), gathered)
        return self.click_predictor(bound, gathered, mask=candidates > 0)

    def look_inside(
        self, history: News, mask: Tensor, user: Tensor, candidates: News, context: Tensor | None = None
    ) -> tuple[Interests | None, Tensor | None]:
        """Take the scores of candidates (B, C) apart: the users' interests in them, and which clicks these look at.

        The arguments are those of `UserEncoder.call`, and `context` that of `score_encoded`; what the model has not is
        None. See `ClickPredictor.interests` and `UserEncoder.attention_weights`.
        """
        shown = {**candidates, **self._named(context)}
        history, mask = self.with_cold(history, mask)
        users = self.user_encoder.users_for(history, mask, user, shown)
        attention = self.user_encoder.attention_weights(history, mask, user, shown)
        if attention is None:
            attention = self.click_predictor.attention_weights(users, shown)
        return self.click_predictor.interests(users, shown), attention

    # === Saving ===

    def save_assets(self, dir_path: str) -> None:
        """Write what the archive holds beside the weights: `model.json` and the vocabularies. Called by Keras."""
        if self.vocabularies is not None:
            (Path(dir_path) / _DESCRIPTION).write_text(json.dumps(self.description), encoding="utf-8")
            self.vocabularies.save(dir_path)
        if self.counts is not None:
            np.savez_compressed(Path(dir_path) / _COUNTS, **self.counts.arrays())

    def load_assets(self, dir_path: str) -> None:
        """Read what `save_assets` wrote. Called by Keras."""
        self.description = json.loads((Path(dir_path) / _DESCRIPTION).read_text(encoding="utf-8"))
        self.vocabularies = Vocabularies.load(dir_path)
        if (path := Path(dir_path) / _COUNTS).is_file():  # of a network that was trained on a log, and reads a context
            with np.load(path, allow_pickle=False) as found:
                self.counts = Past.of_arrays(found)

    def save_weights(self, filepath: str | Path, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Save all weights as Keras does; a name without an ending gets .weights.h5, which Keras asks for."""
        path = Path(filepath)
        super().save_weights(path if path.suffix else f"{path}.weights.h5", overwrite, max_shard_size)

    def load_weights(self, filepath: str | Path, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Load what `save_weights` saved, by the same name."""
        path = Path(filepath)
        self._loads += 1
        super().load_weights(path if path.suffix or path.exists() else f"{path}.weights.h5", skip_mismatch, **kwargs)

    def build(self, input_shape: Any = None) -> None:
        """Create all weights, by one forward pass over a batch of two words."""
        news = {**self.news_encoder.example(), **{name: ops.ones((1,), "int32") for name in self.columns}}
        positions = ops.zeros((1, 2), "int32")
        row = ops.zeros((1,), "int32")
        sample = {"history": positions, "user": row, "row": row, "candidates": positions}
        sample["context"] = ops.zeros((1, 2, len(self.context)))
        self.call({"news": (news,), "samples": (sample,)}, training=False)
        self.built = True

    def get_build_config(self) -> dict[str, Any]:
        """Return what `build_from_config` needs: nothing, but Keras calls it only where there is something."""
        return {"input_shape": None}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Create all weights, for those of a file to be loaded into."""
        self.build()


def _rows(structure: Any, index: Tensor) -> Any:
    """Take rows, by an index of any shape, of every array of a structure."""
    return keras.tree.map_structure(lambda array: ops.take(array, index, axis=0), structure)


def _joined(groups: list[Any]) -> Tensor:
    """Join structures of arrays row by row; where axis 1 is longer in one group, the others get zeros behind."""

    def concatenated(*arrays: Tensor) -> Tensor:
        lengths = [array.shape[1] for array in arrays if len(array.shape) > 1]
        if len(set(lengths)) > 1:
            arrays = [
                ops.pad(array, [(0, 0), (0, max(lengths) - length), *[(0, 0)] * (len(array.shape) - 2)])
                for array, length in zip(arrays, lengths, strict=True)
            ]
        return ops.concatenate(arrays)

    return keras.tree.map_structure(concatenated, *groups)
