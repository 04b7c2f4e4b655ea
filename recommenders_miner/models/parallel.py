"""Training on several devices, of one process or of many: Keras' `DataParallel` over batches that fit it.

A step's clicks are dealt out to the devices in equal parts, and each device's articles and users lie in one array of
all of them, sharded along axis 0, to which every position refers: `TrainingBatches` with `shards`. So loss,
regularisers and gradients are those of the whole step on one device, and the network needs to know of nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from recommenders_miner.data.context import Context
from recommenders_miner.data.iterator import Dataset
from recommenders_miner.evaluation.scoring import LogScorer


class Devices:
    """The devices that train together, as `keras.distribution.set_distribution` says; one where it was not called.

    Attributes:
        process, processes: which process this is, and of how many.
        shards: how many devices there are.
        own: which of them are this process'.
    """

    def __init__(self) -> None:
        self.distribution = keras.distribution.distribution()
        self.process, self.processes, self.shards = 0, 1, 1
        if self.distribution is not None:
            import jax  # Keras distributes nothing on another backend that trains here

            self.process, self.processes = jax.process_index(), jax.process_count()
            self.shards = self.distribution.device_mesh.devices.size
        each = self.shards // self.processes
        self.own = range(self.process * each, (self.process + 1) * each)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.process == 0

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Compute on this process' own device alone, within."""
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(self.distribution)

    @contextlib.contextmanager
    def own_copy(self, network: keras.Model) -> Iterator[None]:
        """Let this process alone compute with the weights of a network, which may not change within."""
        if self.shards == 1:
            yield
            return
        kept = [(variable, variable.value, variable._layout) for variable in network.variables]
        with self.apart():
            try:
                for variable, value, _ in kept:
                    # A copy, since `predict` gives its weights away to the compiled step.
                    own = keras.ops.copy(value.addressable_data(0))
                    variable._layout, variable._value = None, own
                yield
            finally:
                for variable, value, layout in kept:
                    variable._layout, variable._value = layout, value

    def place(self, network: keras.Model) -> None:
        """Give every device the weights of a network that was built on one."""
        if self.shards > 1:
            for variable in network.variables:
                value = keras.ops.convert_to_numpy(variable)
                variable._layout = None
                variable._layout = self.distribution.get_variable_layout(variable)
                variable.assign(value)

    def share(self, rows: Sequence[np.ndarray], compute: Callable[[np.ndarray], Any]) -> Any:
        """Let each process compute some rows of a table, and give all of them to each.

        Args:
            rows: those of each process, which together are all, each once.
            compute: returns, for the rows of a process, a structure of arrays with as many rows.

        Returns:
            That structure, of the whole table.
        """
        found = compute(rows[self.process])
        if self.processes == 1:
            return found
        from jax.experimental.multihost_utils import process_allgather

        longest, order = max(map(len, rows)), np.concatenate(rows)

        def gathered(array: np.ndarray) -> np.ndarray:
            widths = process_allgather(np.array(array.shape[1:], "int32")).max(axis=0)  # of texts, which may differ
            filled = np.zeros((longest, *widths), array.dtype)
            filled[tuple(map(slice, array.shape))] = array
            table = np.empty((len(order), *widths), array.dtype)
            table[order] = np.concatenate(
                [part[: len(own)] for part, own in zip(process_allgather(filled), rows, strict=True)]
            )
            return table

        return keras.tree.map_structure(gathered, found)


def everywhere(structure: Any) -> Any:
    """Give every device of several all rows of arrays that rows are taken of.

    Left alone, XLA would look in each device's rows for all that any device takes, and go on with all of it on each.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return structure

    def whole(array: Any) -> Any:
        layout = keras.distribution.TensorLayout([None] * len(array.shape), distribution.device_mesh)
        return keras.distribution.distribute_tensor(array, layout)

    return keras.tree.map_structure(whole, structure)


def score_together(
    devices: Devices,
    scorer: LogScorer,
    features: Mapping[str, np.ndarray],
    data: Dataset,
    context: Context | None = None,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Score a log as `LogScorer.score` does, `features` being what the network reads of its news.

    Of several processes, each encodes a part of the news, if articles do not read others of the table, and scores a
    part of the users; all get all the scores.
    """
    log, count = data.log, devices.processes
    users = scorer.distinct_users(log, data.users)
    with devices.own_copy(scorer.network):
        if count == 1:
            return scorer.score_users(scorer.encode_news(features), log, users, progress, context)
        if scorer.network.news_encoder.hops:
            news = scorer.encode_news(features)
        else:
            size = len(next(iter(features.values())))
            news = devices.share(
                [np.arange(process, size, count) for process in range(count)],
                lambda rows: scorer.encode_rows(features, rows),
            )
        dealt = scorer.deal(log, users, count)
        own = dealt[devices.process]
        return devices.share(
            [log.candidates.places(impressions).values for impressions in dealt],
            lambda _: scorer.score_some(news, log, users, own, progress, context).values,
        )
