"""Batches as other libraries make them: an article for every slot of every sample, however often it occurs."""

import numpy as np


def in_every_slot(batch, history_size=0):
    """Give each slot of a batch an article of its own, padding slots too.

    Args:
        batch: as `TrainingBatches` makes it.
        history_size: slots that a history has at least.

    Returns:
        A batch of the same form and the same samples, whose users are not shared either.
    """
    inputs, labels, weights = batch
    samples = []
    for sample in inputs["samples"]:
        row = sample["row"]
        history = sample["history"][row]
        history = np.pad(history, [(0, 0), (0, max(history_size - history.shape[1], 0))])
        own = np.arange(len(row), dtype="int32")
        samples.append({**sample, "history": history, "user": sample["user"][row], "row": own})
    sizes = [len(next(iter(group.values()))) for group in inputs["news"]]
    firsts, group_of = np.cumsum([0, *sizes]), np.repeat(np.arange(len(sizes)), sizes)
    places = [(sample, name) for sample in samples for name in ("history", "candidates")]
    slots = np.concatenate([sample[name].ravel() for sample, name in places])
    moved, news, first = np.zeros_like(slots), [], 0
    for index, group in enumerate(inputs["news"]):
        members = np.flatnonzero(group_of[slots] == index)
        rows = np.concatenate([[0], slots[members] - firsts[index]])
        news.append({name: array[rows] for name, array in group.items()})
        moved[members] = first + 1 + np.arange(len(members))
        first += len(rows)
    moved[slots == 0] = 0
    cuts = np.split(moved, np.cumsum([sample[name].size for sample, name in places])[:-1])
    for (sample, name), cut in zip(places, cuts, strict=True):
        sample[name] = cut.reshape(sample[name].shape)
    return {"news": tuple(news), "samples": tuple(samples)}, labels, weights
