"""DeepFM: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from recommenders_miner.hparams import HParams, Sizes, hparam
from recommenders_miner.layers import News, Tensor
from recommenders_miner.models.base import register
from recommenders_miner.models.libfm import FactorHParams, FactorizationMachinePredictor, LibFMModel
from recommenders_miner.models.network import ClickPredictor, Users


class DeepFMHParams(FactorHParams):
    """Hyperparameters of DeepFM."""

    layer_sizes: Sizes = hparam("model", [300], "hidden layers of the deep component")


class DeepFMPredictor(FactorizationMachinePredictor):
    """The sum of the FM component and the deep component, which share the factors (Section 2.1).

    The deep component is a feed-forward network with ReLU over the embeddings of the fields side by side, a field's
    embedding being Σ_i x_i v_i over its features (Eqs. 3 and 4).
    """

    candidates_at_once = 16_384
    not_searchable = "a network reads user and candidate together"

    def __init__(self, layer_sizes: Sequence[int] = (300,), dropout: float = 0.2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = [keras.layers.Dense(size, activation="relu", dtype=self.dtype_policy) for size in layer_sizes]
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.deep_score = keras.layers.Dense(1, dtype="float32")

    def call(self, users: Users, candidates: News, mask: Tensor = None, training: bool | None = None) -> Tensor:
        """Return scores (B, C) of users, (B, …), and candidates, (B, C, …)."""
        of_user = ops.concatenate([users["id_vector"], users["history_vector"]], axis=-1)
        of_candidate = ops.concatenate([candidates["id_vector"], candidates["title_vector"]], axis=-1)
        of_user = ops.broadcast_to(of_user[:, None], ops.shape(of_candidate))
        hidden = ops.concatenate([of_user, of_candidate], axis=-1)
        for layer in self.hidden:
            hidden = self.dropout(layer(hidden), training=training)
        deep = ops.cast(ops.squeeze(self.deep_score(hidden), axis=-1), "float32")
        return super().call(users, candidates) + deep


@register(
    "deepfm",
    paper="Guo et al., DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, IJCAI",
    year=2017,
)
class DeepFMModel(LibFMModel):
    """DeepFM: LibFM's factorisation machine and, on the same factors, a deep network over its four fields.

    The paper's settings (Section 3.1), those of deepfm.yaml: factors of 10, three hidden layers of 400, ReLU, dropout
    50 %, Adam, log loss on all samples. Samples, features and what is done about unseen users and articles are as in
    `LibFMModel`.
    """

    hparams_class = DeepFMHParams

    def click_predictor(self, hparams: HParams) -> ClickPredictor:
        """Return the FM and the deep component."""
        return DeepFMPredictor(hparams.layer_sizes, hparams.dropout)
