"""The synthetic benchmark: MIND-format logs from a simulator whose truth is known.

MIND may not be redistributed, so the package brings its own data of the same shape. `world` decides who clicks what,
`text` what the articles say. The true click logits are written too, so that every model's score can be set beside the
best that is possible.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from recommenders_miner.data.behaviors import unix_seconds
from recommenders_miner.data.folders import BEHAVIORS_FILE
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import FILE_COLUMNS
from recommenders_miner.data.past_clicks import Histories
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.write import write_behaviors
from recommenders_miner.datasets.conversion import write_news
from recommenders_miner.datasets.synthetic.text import (
    FIRST_WIKIDATA_NUMBER,
    Entity,
    entities_json,
    invent_entities,
    load_topics,
    splice_titles,
    write_story,
)
from recommenders_miner.datasets.synthetic.world import SyntheticConfig, simulate
from recommenders_miner.evaluation.submission import write_scores
from recommenders_miner.storage import new_folder

__all__ = ["PRESETS", "SyntheticConfig", "benchmark_name", "write_synthetic_benchmark"]

DESCRIPTION_FILE = "dataset.json"
FORMAT_VERSION = 2  # 1 had neither times nor bodies, and no time or position in its clicks
TRAIN_STARTS = datetime(2019, 11, 9)
ENTITY_DIM = 100
NUM_RELATIONS = 20
NUM_STEPS = 7  # that `progress` is told of

PRESETS = {
    "tiny": SyntheticConfig(300, 100, 300, 100, history_days=4, train_days=3, life_days=4.0, promoted_share=0.5),
    "demo": SyntheticConfig(5_000, 4_500, 10_000, 3_500, history_days=10, promoted_share=0.4),
    "spliced": SyntheticConfig(12_000, 4_500, 30_000, 3_500, history_days=10, promoted_share=0.4, spliced_titles=True),
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

    `out` gets `train/` and `dev/`, each with `news.tsv`, `articles.parquet` (`published` in Unix seconds, and `body`),
    `behaviors.tsv`, `entity_embedding.vec`, `relation_embedding.vec` and `click_logits.txt`; and `dataset.json` with
    the configuration and the counts. `click_logits.txt` has one line per impression, in the order of `behaviors.tsv`:
    the true logits of its candidates at that time, by which the clicks were drawn, but for the positions in which they
    were shown, which a log in MIND's format does not have. The same preset and seed give the same bytes. A crash leaves
    no `out`.

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
        "name": "synthetic",
        "format_version": FORMAT_VERSION,
        "preset": preset if isinstance(preset, str) else "custom",
        "seed": seed,
        "config": asdict(config),
    }
    with new_folder(out, overwrite) as new:
        description["counts"] = _write_splits(new, config, seed, progress)
        (new / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8", newline="\n")


def benchmark_name(data_dir: str | Path) -> str | None:
    """Name the benchmark in a folder, as in "synthetic benchmark 2, preset demo"; None for other data."""
    try:
        found = json.loads((Path(data_dir) / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        return f"synthetic benchmark {found['format_version']}, preset {found['preset']}"
    except (OSError, ValueError, LookupError, TypeError):
        return None  # not there, or somebody else's file of that name


def _write_splits(out: Path, config: SyntheticConfig, seed: int, progress: Callable[[str], None]) -> dict:
    """Simulate the world, write both splits' folders and return the counts of what was written."""
    world_seed, text_seed, id_seed, vector_seed = np.random.SeedSequence(seed).spawn(4)
    topics, words = load_topics()
    categories = list(dict.fromkeys(topic.category for topic in topics))
    topic_category = np.array([categories.index(topic.category) for topic in topics])
    world = simulate(config, np.array([topic.share for topic in topics]), topic_category, world_seed, progress)

    progress(f"writing {config.num_news:,} articles")
    text_rng, id_rng = np.random.default_rng(text_seed), np.random.default_rng(id_seed)
    entities = invent_entities(topics, words, text_rng)
    stories = [write_story(topics[topic], entities[topic], words, text_rng) for topic in world.news.topic]
    if config.spliced_titles:
        stories = splice_titles(stories, world.news.topic, text_rng)
    entity_vectors, relation_vectors = draw_vectors(entities, np.random.default_rng(vector_seed))
    # Numbers out of order and with gaps, so that an id tells nothing about its article or user.
    news_ids = [f"N{number}" for number in id_rng.permutation(2 * config.num_news)[: config.num_news] + 1]
    user_ids = [f"U{number}" for number in id_rng.permutation(2 * config.num_users)[: config.num_users] + 1]
    clock_start = unix_seconds(TRAIN_STARTS - timedelta(days=config.history_days))
    columns = [
        news_ids,
        [topics[topic].category for topic in world.news.topic],
        [topics[topic].name for topic in world.news.topic],
        [story.title for story in stories],
        [story.abstract for story in stories],
        [f"https://example.org/news/{news_id}" for news_id in news_ids],
        [entities_json(story.title, story.entities) for story in stories],
        [entities_json(story.abstract, story.entities) for story in stories],
        clock_start + world.news.birth.astype(np.int64),
        [story.body for story in stories],
    ]
    news = pa.table(columns, names=[*FILE_COLUMNS, "published", "body"])

    counts = {"news": config.num_news, "users": config.num_users}
    for split, impressions in (("train", world.train), ("dev", world.dev)):
        progress(f"writing {split}")
        candidates, folder = impressions.candidates, out / split
        folder.mkdir()
        log = ImpressionLog(
            candidates=candidates,
            labels=impressions.clicked.astype(np.int8),
            histories=world.histories,
            history_of=impressions.user,
            user_of=impressions.user,
            time=clock_start + impressions.time,
            impression_id=np.arange(1, len(impressions.user) + 1),
            users=pa.array(user_ids),
        )
        everything = [(log, Histories.of_log(log), np.arange(len(log)))]
        used = write_behaviors(folder / BEHAVIORS_FILE, news["news id"].combine_chunks(), everything)
        # Dev's news are what is new, and what is a candidate or in a history.
        rows = np.flatnonzero(world.born_on_dev_day | used if split == "dev" else ~world.born_on_dev_day)
        write_news(folder, news.take(rows))
        write_scores(folder / "click_logits.txt", Ragged(impressions.logits.round(4), candidates.offsets))

        named = {entity.wikidata_id for row in rows for entity in stories[row].entities}
        here = {wikidata_id: vector for wikidata_id, vector in entity_vectors.items() if wikidata_id in named}
        for name, vectors in (("entity", here), ("relation", relation_vectors)):
            lines = ["\t".join([key, *(f"{value:.6f}" for value in vector)]) + "\n" for key, vector in vectors.items()]
            (folder / f"{name}_embedding.vec").write_text("".join(lines), encoding="utf-8", newline="\n")
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
