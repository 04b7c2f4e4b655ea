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
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.datasets.synthetic.text import (
    FIRST_WIKIDATA_NUMBER,
    Entity,
    Story,
    entities_json,
    invent_entities,
    load_topics,
    write_story,
)
from recommenders_miner.datasets.synthetic.world import Impressions, SyntheticConfig, SyntheticWorld, simulate
from recommenders_miner.storage import new_folder

__all__ = ["PRESETS", "SyntheticConfig", "write_synthetic_benchmark"]

TRAIN_STARTS = datetime(2019, 11, 9)
ENTITY_DIM = 100
NUM_RELATIONS = 20
NUM_STEPS = 7  # that `progress` is told of

PRESETS = {
    "tiny": SyntheticConfig(
        num_news=300,
        num_users=100,
        num_train_impressions=300,
        num_dev_impressions=100,
        history_days=4,
        train_days=3,
        life_days=4.0,
        promoted_share=0.5,
    ),
    "demo": SyntheticConfig(
        num_news=5_000,
        num_users=4_500,
        num_train_impressions=10_000,
        num_dev_impressions=3_500,
        history_days=10,
        promoted_share=0.4,
    ),
    "mind-small": SyntheticConfig(
        num_news=65_238,
        num_users=50_000,
        num_train_impressions=156_965,
        num_dev_impressions=73_152,
    ),
}


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


write_synthetic_benchmark = write_synthetic_benchmark


def _write_splits(out: Path, config: SyntheticConfig, seed: int, progress: Callable[[str], None]) -> dict:
    """Simulate the world, write both splits' folders and return the counts of what was written."""
    world_seed, text_seed, id_seed, vector_seed = np.random.SeedSequence(seed).spawn(4)
    topics, words = load_topics()
    categories = list(dict.fromkeys(topic.category for topic in topics))
    world = simulate(
        config,
        topic_shares=np.array([topic.share for topic in topics]),
        topic_category=np.array([categories.index(topic.category) for topic in topics]),
        seed=world_seed,
        progress=progress,
    )

    progress(f"writing {config.num_news:,} headlines")
    text_rng, id_rng = np.random.default_rng(text_seed), np.random.default_rng(id_seed)
    entities = invent_entities(topics, words, text_rng)
    stories = [write_story(topics[topic], entities[topic], words, text_rng) for topic in world.news.topic]
    vectors = _EntityVectors(entities, np.random.default_rng(vector_seed))
    # Numbers out of order and with gaps, so that an id tells nothing about its article or user.
    news_ids = [f"N{number}" for number in id_rng.permutation(2 * config.num_news)[: config.num_news] + 1]
    user_ids = [f"U{number}" for number in id_rng.permutation(2 * config.num_users)[: config.num_users] + 1]
    clock_start = unix_seconds(TRAIN_STARTS - timedelta(days=config.history_days))
    histories = [" ".join([news_ids[row] for row in history]) for history in world.histories]

    counts = {"news": config.num_news, "users": config.num_users}
    for split, impressions, listed in (
        ("train", world.train, ~world.born_on_dev_day),
        ("dev", world.dev, world.born_on_dev_day | _shown(world.dev, world)),
    ):
        progress(f"writing {split}")
        folder = out / split
        folder.mkdir()
        rows = np.flatnonzero(listed).tolist()
        _write_lines(folder / "news.tsv", (_news_line(news_ids[row], stories[row]) for row in rows))
        _write_impressions(folder, impressions, news_ids, user_ids, histories, clock_start)
        vectors.write(folder, [stories[row] for row in rows])
        counts[split] = {
            "news": len(rows),
            "users": len(np.unique(impressions.user)),
            "impressions": len(impressions.user),
            "candidates": len(impressions.clicked),
            "clicks": int(impressions.clicked.sum()),
        }
    return counts


def _shown(impressions: Impressions, world: SyntheticWorld) -> np.ndarray:
    """Return which articles are candidates of a split or in the histories of its users, (news,) bool."""
    shown = np.zeros(len(world.news.topic), bool)
    shown[impressions.candidates.values] = True
    shown[world.histories.take(np.unique(impressions.user)).values] = True
    return shown


def _news_line(news_id: str, story: Story) -> str:
    return "\t".join(
        [
            news_id,
            story.topic.category,
            story.topic.name,
            story.title,
            story.abstract,
            f"https://example.org/news/{news_id}",
            entities_json(story.title, story.entities),
            entities_json(story.abstract, story.entities),
        ]
    )


def _write_impressions(
    folder: Path,
    impressions: Impressions,
    news_ids: list[str],
    user_ids: list[str],
    histories: list[str],
    clock_start: int,
) -> None:
    """Write `behaviors.tsv` and `click_logits.txt` line by line, never a whole split in memory."""
    candidates = impressions.candidates
    times = mind_times(clock_start + impressions.time).to_pylist()
    labelled = [f"{news_id}-{label}" for news_id in news_ids for label in (0, 1)]
    shown = Ragged(2 * candidates.values + impressions.clicked, candidates.offsets)
    lines = (
        f"{row}\t{user_ids[user]}\t{time}\t{histories[user]}\t" + " ".join([labelled[place] for place in places])
        for row, (user, time, places) in enumerate(zip(impressions.user, times, shown, strict=True), start=1)
    )
    _write_lines(folder / "behaviors.tsv", lines)
    logits = Ragged(impressions.logits, candidates.offsets)
    _write_lines(folder / "click_logits.txt", (" ".join([f"{logit:.4f}" for logit in row]) for row in logits))


class _EntityVectors:
    """Vectors in the place of MIND's knowledge graph embeddings: an entity's is its topic's plus noise."""

    def __init__(self, entities: list[list[Entity]], rng: np.random.Generator) -> None:
        self.entities = [entity for of_topic in entities for entity in of_topic]
        topic_vectors = rng.normal(0, 0.1, (len(entities), ENTITY_DIM))
        noise = rng.normal(0, 0.05, (len(self.entities), ENTITY_DIM))
        self.vectors = topic_vectors[[entity.topic for entity in self.entities]] + noise
        self.relations = rng.normal(0, 0.1, (NUM_RELATIONS, ENTITY_DIM))

    def write(self, folder: Path, stories: list[Story]) -> None:
        """Write the vectors of the entities that `stories` name, and of all relations."""
        named = {entity.wikidata_id for story in stories for entity in story.entities}
        pairs = zip((entity.wikidata_id for entity in self.entities), self.vectors, strict=True)
        entities = {wikidata_id: vector for wikidata_id, vector in pairs if wikidata_id in named}
        relations = {f"P{FIRST_WIKIDATA_NUMBER + row}": vector for row, vector in enumerate(self.relations)}
        for name, vectors in (("entity", entities), ("relation", relations)):
            lines = ("\t".join([key, *(f"{value:.6f}" for value in vector)]) for key, vector in vectors.items())
            _write_lines(folder / f"{name}_embedding.vec", lines)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    # Without newline="\n", Windows would write other bytes.
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
