"""The optimiser: Adam with a step size that rises and falls, and perhaps another one for the pretrained model."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.hparams import HParams
from recommenders_miner.models.network import NewsRecommender


@keras.saving.register_keras_serializable(package="recommenders_miner")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A step size that rises linearly to its peak, then stays, or falls linearly to 0 (MINER, Section 4.1).

    The peak is reached after `warmup_steps`, and 0 after `total_steps`; None stays at the peak. A step is an update of
    the weights, which is made of `accumulate_steps` steps of training.
    """

    def __init__(
        self, peak: float, warmup_steps: int, total_steps: int | None = None, accumulate_steps: int = 1
    ) -> None:
        self.config = {"peak": peak, "warmup_steps": warmup_steps, "total_steps": total_steps}
        self.config["accumulate_steps"] = accumulate_steps

    def __call__(self, step: Any) -> Any:
        """Return the step size at a step of training, counted from 0; the first is not 0."""
        peak, warmup, total, accumulate_steps = self.config.values()
        done = ops.floor(ops.cast(step, "float32") / accumulate_steps)
        rising = (done + 1) / (warmup + 1)
        falling = 1.0 if total is None else (total - done) / max(total - warmup, 1)
        return peak * ops.clip(ops.minimum(rising, falling), 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this schedule again."""
        return self.config


@keras.saving.register_keras_serializable(package="recommenders_miner")
class TwoRateAdam(keras.optimizers.Adam):
    """Adam whose step size is multiplied for some weights, and which treats embeddings as other weights.

    TensorFlow gives an embedding's gradient as one slice per lookup. Keras' own Adam squares the slices of a word that
    stands in a batch twice apart, and so takes steps that are up to √2 times too long, √n for n times; here they are
    summed up first, as the other backends do.
    """

    def __init__(self, *args: Any, factor: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.factor = factor
        self.places: frozenset[int] = frozenset()
        """Which weights the factor is for, by their places among those that the optimiser was built for."""

    def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> None:
        """Called by Keras."""
        # An addition makes of slices, which may repeat a row, one dense gradient.
        summed = [ops.add(gradient, 0.0) if hasattr(gradient, "indices") else gradient for gradient in grads]
        super().apply(summed, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Called by Keras."""
        rate = learning_rate * self.factor if self._get_variable_index(variable) in self.places else learning_rate
        super().update_step(gradient, variable, rate)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this optimiser again; which weights it multiplies is not among them."""
        return {**super().get_config(), "factor": self.factor}


def make_optimizer(hparams: HParams, network: NewsRecommender, total_steps: int) -> keras.optimizers.Optimizer:
    """Return the optimiser that the hyperparameters ask for, for a run of some steps.

    Of the network's weights all that are not the language model's are the head, with a step size of its own. With
    `accumulate_steps` N, an update takes the mean of the gradients of N steps, and step sizes go by updates: a run is
    that of one with N times the `batch_size`, whose steps are cut into N parts (`data.sampling.TrainingSamples`).
    """
    updates = -(-total_steps // hparams.accumulate_steps)
    schedule = WarmupSchedule(
        hparams.learning_rate,
        warmup_steps=round(hparams.warmup * updates),
        total_steps=updates if hparams.decay == "linear" else None,
        accumulate_steps=hparams.accumulate_steps,
    )
    optimizer = TwoRateAdam(
        schedule if hparams.warmup or hparams.decay != "constant" else hparams.learning_rate,
        amsgrad=hparams.optimizer == "amsgrad",
        factor=(hparams.head_learning_rate or hparams.learning_rate) / hparams.learning_rate,
        global_clipnorm=hparams.clip_norm,
        gradient_accumulation_steps=hparams.accumulate_steps if hparams.accumulate_steps > 1 else None,
    )
    pretrained = {id(weight) for weight in network.pretrained_weights}
    optimizer.build(network.trainable_variables)
    places = (i for i, weight in enumerate(network.trainable_variables) if id(weight) not in pretrained)
    optimizer.places = frozenset(places)
    return optimizer
