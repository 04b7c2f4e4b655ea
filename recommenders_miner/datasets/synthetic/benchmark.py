"""The synthetic benchmark: MIND-format logs from a simulator whose truth is known.

MIND may not be redistributed, so the package brings its own data of the same shape. `world` decides who clicks what,
`text` what the articles say. The true click logits are written too, so that every model's score can be set beside the
best that is possible.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from recommenders_miner.data.behaviors import mind_times, unix_seconds
from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.datasets.synthetic.text import (
    FIRST_WIKIDATA_NUMBER,
    Entity,
    entities_json,
    invent_entities,
    load_topics,
    write_story,
)
from recommenders_miner.datasets.synthetic.world import SyntheticConfig, simulate
from recommenders_miner.storage import new_folder

__all__ = ["PRESETS", "SyntheticConfig", "write_synthetic_benchmark"]

TRAIN_STARTS = datetime(2019, 11, 9)
ENTITY_DIM = 100
NUM_RELATIONS = 20
NUM_STEPS = 7  # that `progress` is told of

PRESETS = {
    "tiny": SyntheticConfig(300, 100, 300, 100, history_days=4, train_days=3, life_days=4.0, promoted_share=0.5),
    "demo": SyntheticConfig(5_000, 4_500, 10_000, 3_500, history_days=10, promoted_share=0.4),
    "mind-small": SyntheticConfig(65_238, 50_000, 156_965, 73_152),
}
"""The numbers of news, users, train and dev impressions, and what differs from the defaults."""


def write_synthetic_benchmark(
    out: str | Path,
    preset: str | SyntheticConfig = "demo",
    seed: int = 42,
    progress: Callable[[str], None] = lambda step: None,
    overwrite: bool = False,
) -> None:
    """Write a synthetic benchmark in MIND's format.

    `out` gets `train/` and `dev/`, each with `news.tsv`, `behaviors.tsv`, `entity_embedding.vec`,
    `relation_embedding.vec` and `click_logits.txt`; and `dataset.json` with the configuration and the counts.
    `click_logits.txt` has one line per impression, in the order of `behaviors.tsv`: the true logits of its candidates,
    by which the clicks were drawn. The same preset and seed give the same bytes. A crash leaves no `out`.

    Args:
        out: the folder to make. Its parents are made too.
        preset: a key of `PRESETS`, or a configuration of your own.
        seed: a non-negative integer.
        progress: is called with a line of text at each step.
        overwrite: whether to remove what is in `out` first.

    Raises:
        FolderExistsError: `out` exists, and is not to be overwritten.
        ValueError: there is no such preset, or the seed is negative.
    """
    if isinstance(preset, str) and preset not in PRESETS:
        raise ValueError(f"There is no preset {preset!r}. Choose one of {', '.join(PRESETS)}.")
    config = PRESETS[preset] if isinstance(preset, str) else preset
    description = {
        "name": "planted",  # as the benchmark was called when this file got its form
        "format_version": 1,
        "preset": preset if isinstance(preset, str) else "custom",
        "seed": seed,
        "config": asdict(config),
    }
    with new_folder(out, overwrite) as new:
        description["counts"] = _write_splits(new, config, seed, progress)
        _write_lines(new / "dataset.json", [json.dumps(description, indent=2)])


def _write_splits(out: Path, config: SyntheticConfig, seed: int, progress: Callable[[str], None]) -> dict:
    """Simulate the world, write both splits' folders and return the counts of what was written."""
    world_seed, text_seed, id_seed, vector_seed = np.random.SeedSequence(seed).spawn(4)
    topics, words = load_topics()
    categories = list(dict.fromkeys(topic.category for topic in topics))
    topic_category = np.array([categories.index(topic.category) for topic in topics])
    world = simulate(config, np.array([topic.share for topic in topics]), topic_category, world_seed, progress)

    progress(f"writing {config.num_news:,} headlines")
    text_rng, id_rng = np.random.default_rng(text_seed), np.random.default_rng(id_seed)
    entities = invent_entities(topics, words, text_rng)
    stories = [write_story(topics[topic], entities[topic], words, text_rng) for topic in world.news.topic]
    entity_vectors, relation_vectors = draw_vectors(entities, np.random.default_rng(vector_seed))
    # Numbers out of order and with gaps, so that an id tells nothing about its article or user.
    news_ids = [f"N{number}" for number in id_rng.permutation(2 * config.num_news)[: config.num_news] + 1]
    user_ids = [f"U{number}" for number in id_rng.permutation(2 * config.num_users)[: config.num_users] + 1]
    news_lines = [
        f"{news_id}\t{topics[topic].category}\t{topics[topic].name}\t{title}\t{abstract}\t"
        f"https://example.org/news/{news_id}\t{entities_json(title, named)}\t{entities_json(abstract, named)}"
        for news_id, topic, (title, abstract, named) in zip(news_ids, world.news.topic, stories, strict=True)
    ]
    clock_start = unix_seconds(TRAIN_STARTS - timedelta(days=config.history_days))
    histories = [" ".join([news_ids[row] for row in history]) for history in world.histories]
    labelled = [f"{news_id}-{label}" for news_id in news_ids for label in (0, 1)]

    counts = {"news": config.num_news, "users": config.num_users}
    for split, impressions in (("train", world.train), ("dev", world.dev)):
        progress(f"writing {split}")
        candidates, folder = impressions.candidates, out / split
        folder.mkdir()
        listed = ~world.born_on_dev_day
        if split == "dev":  # what is new, and what is a candidate or in a history
            listed = world.born_on_dev_day.copy()
            listed[candidates.values] = True
            listed[world.histories.take(np.unique(impressions.user)).values] = True
        rows = np.flatnonzero(listed).tolist()
        _write_lines(folder / NEWS_FILE, (news_lines[row] for row in rows))

        # Line by line, never a whole split in memory.
        times = mind_times(clock_start + impressions.time).to_pylist()
        shown = Ragged(2 * candidates.values + impressions.clicked, candidates.offsets)
        lines = (
            f"{row}\t{user_ids[user]}\t{time}\t{histories[user]}\t" + " ".join([labelled[place] for place in places])
            for row, (user, time, places) in enumerate(zip(impressions.user, times, shown, strict=True), start=1)
        )
        _write_lines(folder / BEHAVIORS_FILE, lines)
        logits = Ragged(impressions.logits, candidates.offsets)
        _write_lines(folder / "click_logits.txt", (" ".join([f"{logit:.4f}" for logit in row]) for row in logits))

        named = {entity.wikidata_id for row in rows for entity in stories[row][2]}
        here = {wikidata_id: vector for wikidata_id, vector in entity_vectors.items() if wikidata_id in named}
        for name, vectors in (("entity", here), ("relation", relation_vectors)):
            lines = ("\t".join([key, *(f"{value:.6f}" for value in vector)]) for key, vector in vectors.items())
            _write_lines(folder / f"{name}_embedding.vec", lines)
        counts[split] = {
            "news": len(rows),
            "users": len(np.unique(impressions.user)),
            "impressions": len(impressions.user),
            "candidates": len(impressions.clicked),
            "clicks": int(impressions.clicked.sum()),
        }
    return counts


def draw_vectors(
    entities: list[list[Entity]], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return vectors by id in the place of MIND's: of entities, their topic's plus noise, and of relations."""
    every = [entity for of_topic in entities for entity in of_topic]
    topic_vectors = rng.normal(0, 0.1, (len(entities), ENTITY_DIM))
    vectors = topic_vectors[[entity.topic for entity in every]] + rng.normal(0, 0.05, (len(every), ENTITY_DIM))
    relations = rng.normal(0, 0.1, (NUM_RELATIONS, ENTITY_DIM))
    return (
        {entity.wikidata_id: vector for entity, vector in zip(every, vectors, strict=True)},
        {f"P{FIRST_WIKIDATA_NUMBER + row}": vector for row, vector in enumerate(relations)},
    )


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    # Without newline="\n", Windows would write other bytes.
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
