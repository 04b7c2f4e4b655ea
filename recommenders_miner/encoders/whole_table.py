"""Encoding all the articles of a table, each once, in batches of equal length."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from recommenders_miner.data.lengths import LengthGroups
from recommenders_miner.progress import progress_bar


class NetworkPart(keras.Model):
    """One step of a network as a model of its own, so that Keras compiles it for prediction.

    `owner` has the weights; `step` is a method of it, or of one of its layers, called with a batch as keywords.
    """

    def __init__(self, owner: keras.layers.Layer, step: Callable[..., Any]) -> None:
        super().__init__()
        self.owner, self.step = owner, step
        self.keywords: Callable[[list[Any]], dict[str, Any]] | None = None
        self.built = True

    def predict_on_batch(self, x: dict[str, Any]) -> Any:
        """Call the step with a batch as keywords, all batches of one structure; returns numpy arrays.

        Keras gets the batch as a list of arrays: in TensorFlow's table of the shapes that were met, all dicts of the
        same keys have the same hash, so that a call would be compared with every shape before it.
        """
        if self.keywords is None:
            structure = keras.tree.map_structure(lambda _: 0, x)
            self.keywords = functools.partial(keras.tree.pack_sequence_as, structure)
        keras.tree.assert_same_structure(self.keywords.args[0], x)
        return super().predict_on_batch(keras.tree.flatten(x))

    def call(self, inputs: list[Any]) -> Any:
        """See the class for the shapes."""
        return self.step(**self.keywords(inputs))


def encode_table(
    part: NetworkPart, features: Mapping[str, np.ndarray], batch_size: int = 1024, groups: int = 4
) -> dict[str, np.ndarray]:
    """Return what a part makes of a table's `features`, arrays of N+1 rows, row 0 the padding article.

    The part gets them as `features`, U rows at once, and returns a dict of arrays of U rows. These come back with N+1
    rows each; where axis 1 is as long as a text, with zeros behind. The articles are padded to `groups` lengths.
    """
    count = len(next(iter(features.values())))
    encoded: dict[str, np.ndarray] = {}
    for rows, outputs in encoded_batches(part, features, batch_size, groups):
        for name, values in outputs.items():
            encoded.setdefault(name, np.zeros((count, *values.shape[1:]), values.dtype))
            place = (rows, slice(values.shape[1])) if values.ndim > 1 else rows
            encoded[name][place] = values
    return encoded


def encoded_batches(
    part: NetworkPart, features: Mapping[str, np.ndarray], batch_size: int, groups: int = 4
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yield rows (U,) of a table and what the part returned for them; see `encode_table`."""
    lengths = LengthGroups.plan(features, groups)
    group_of = lengths.group_of(np.arange(len(lengths.lengths)))
    done = 0
    with progress_bar("encoding news") as report:
        by_group = [batches_of(np.flatnonzero(group_of == group), batch_size) for group in range(len(lengths.edges))]
        for group, rows in remainders_first(by_group):
            batch = lengths.gather(features, filled(rows, padded_size(len(rows))), group)
            outputs = part.predict_on_batch({"features": batch})
            yield rows, {name: values[: len(rows)] for name, values in outputs.items()}
            done += len(rows)
            report(done / len(group_of))


def batches_of(members: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut an array into pieces of at most `batch_size`."""
    return [members[start : start + batch_size] for start in range(0, len(members), batch_size)]


def remainders_first(by_group: Sequence[list[np.ndarray]]) -> list[tuple[int, np.ndarray]]:
    """List the batches of some groups, with their groups: the last of each group first, the longest group leading.

    So the second batch differs from the first in every size, and TensorFlow, which builds a graph anew for any size
    that it did not expect to vary, has seen all vary after two.
    """
    filled_groups = [(group, batches) for group, batches in enumerate(by_group) if batches]
    last = [(group, batches[-1]) for group, batches in reversed(filled_groups)]
    return last + [(group, batch) for group, batches in reversed(filled_groups) for batch in batches[:-1]]


def padded_size(size: int) -> int:
    """Return the rows to pad a batch to: a power of two, where the backend compiles every shape anew."""
    return size if keras.backend.backend() == "tensorflow" else 1 << max(size - 1, 0).bit_length()


def filled(rows: np.ndarray, size: int) -> np.ndarray:
    """Repeat the last of `rows` until there are `size`."""
    return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows))])
