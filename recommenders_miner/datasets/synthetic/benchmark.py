"""The planted benchmark: MIND-format logs from a simulator whose truth is known.

MIND may not be redistributed, so the package brings its own data of the same shape. ``planted_world`` decides
who clicks what, ``planted_text`` what the news say. The true click logits are written too, so that every
model's score can be set beside the best that is possible.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np

from recommenders_miner.data.file_clock import mind_times, unix_seconds
from recommenders_miner.datasets.synthetic.text import (
    FIRST_WIKIDATA_NUMBER,
    Entity,
    Story,
    Topic,
    entities_json,
    invent_entities,
    load_topics,
    write_story,
)
from recommenders_miner.datasets.synthetic.world import (
    Impressions,
    PlantedConfig,
    PlantedWorld,
    simulate,
)

__all__ = ["PRESETS", "PlantedConfig", "write_planted_benchmark"]

FORMAT_VERSION = 1
TRAIN_STARTS = datetime(2019, 11, 9)
ENTITY_DIM = 100
NUM_RELATIONS = 20
NUM_STEPS = 7  # that `progress` is told of

PRESETS = {
    "tiny": PlantedConfig(
        num_news=300,
        num_users=100,
        num_train_impressions=300,
        num_dev_impressions=100,
        history_days=4,
        train_days=3,
        life_days=4.0,
        promoted_share=0.5,
    ),
    "demo": PlantedConfig(
        num_news=5_000,
        num_users=4_500,
        num_train_impressions=10_000,
        num_dev_impressions=3_500,
        history_days=10,
        promoted_share=0.4,
    ),
    "mind-small": PlantedConfig(
        num_news=65_238,
        num_users=50_000,
        num_train_impressions=156_965,
        num_dev_impressions=73_152,
    ),
}


def write_planted_benchmark(
    out: str | Path,
    preset: str | PlantedConfig = "demo",
    seed: int = 42,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes a planted benchmark in MIND's format.

    ``out`` gets ``train/`` and ``dev/``, each with ``news.tsv``, ``behaviors.tsv``, ``entity_embedding.vec``,
    ``relation_embedding.vec`` and ``click_logits.txt``; and ``dataset.json`` with the configuration and the
    counts. ``click_logits.txt`` has one line per impression, in the order of ``behaviors.tsv``: the true
    logits of its candidates, by which the clicks were drawn. The same preset and seed give the same bytes.
    Where ``out`` already holds that very benchmark, nothing is done. A crash leaves no ``out``.

    Args:
        out: the folder to make. Its parents are made too.
        preset: a key of :data:`PRESETS`, or a configuration of your own.
        seed: a non-negative integer.
        progress: is called with a line of text at each step.

    Raises:
        FileExistsError: ``out`` holds something else.
        ValueError: there is no such preset, or the seed is negative.
    """
    if isinstance(preset, str) and preset not in PRESETS:
        raise ValueError(f"There is no preset {preset!r}. Choose one of {', '.join(PRESETS)}.")
    config = PRESETS[preset] if isinstance(preset, str) else preset
    identity = {
        "name": "planted",
        "format_version": FORMAT_VERSION,
        "preset": preset if isinstance(preset, str) else "custom",
        "seed": seed,
        "config": asdict(config),
    }
    out = Path(out)
    if _already_there(out, identity):
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        counts = _write_splits(partial, config, seed, progress or (lambda message: None))
        _write_lines(partial / "dataset.json", [json.dumps(identity | {"counts": counts}, indent=2)])
        if out.exists():
            out.rmdir()  # empty, or this fails
        partial.replace(out)
    except BaseException:
        shutil.rmtree(partial)
        raise


def _already_there(out: Path, identity: dict) -> bool:
    """Whether ``out`` holds the benchmark ``identity``; an error if it holds anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict) and found | identity == found:
        return True
    raise FileExistsError(
        f"{out} exists and is not the planted benchmark {identity['preset']} with seed {identity['seed']}. "
        "Choose another folder or remove this one."
    )


def _write_splits(out: Path, config: PlantedConfig, seed: int, progress: Callable[[str], None]) -> dict:
    """Simulates the world, writes both splits' folders and returns the counts of what was written."""
    world_seed, text_seed, id_seed, vector_seed = np.random.SeedSequence(seed).spawn(4)
    topics, language = load_topics()
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
    entities = invent_entities(topics, language, text_rng)
    clock_start = TRAIN_STARTS - timedelta(days=config.history_days)
    stories = [write_story(topics[topic], entities[topic], language, text_rng) for topic in world.news.topic]
    vectors = _EntityVectors(entities, np.random.default_rng(vector_seed))
    # Numbers out of order and with gaps, so that an id tells nothing about its news or user.
    news_ids = [f"N{number}" for number in id_rng.permutation(2 * config.num_news)[: config.num_news] + 1]
    user_ids = [f"U{number}" for number in id_rng.permutation(2 * config.num_users)[: config.num_users] + 1]

    topic_of_news = [topics[topic] for topic in world.news.topic]
    history_fields = [
        " ".join(news_ids[news] for news in world.histories.values[first:last])
        for first, last in pairwise(world.histories.offsets)
    ]

    counts = {"news": config.num_news, "users": config.num_users}
    for split, impressions, listed in (
        ("train", world.train, ~world.born_on_dev_day),
        ("dev", world.dev, world.born_on_dev_day | _shown(world.dev, world)),
    ):
        progress(f"writing {split}")
        folder = out / split
        folder.mkdir()
        rows = np.flatnonzero(listed).tolist()
        lines = (_news_line(news_ids[row], topic_of_news[row], stories[row]) for row in rows)
        _write_lines(folder / "news.tsv", lines)
        _write_behaviors(folder, impressions, history_fields, news_ids, user_ids, clock_start)
        vectors.write(folder, [stories[row] for row in rows])
        counts[split] = {
            "news": len(rows),
            "users": len(np.unique(impressions.user)),
            "impressions": len(impressions.user),
            "candidates": len(impressions.clicked),
            "clicks": int(impressions.clicked.sum()),
        }
    return counts


def _shown(impressions: Impressions, world: PlantedWorld) -> np.ndarray:
    """Which news occur in a split's slates or in the histories of its users, (news,) bool."""
    shown = np.zeros(len(world.news.topic), bool)
    shown[impressions.candidates.values] = True
    visits = np.zeros(len(world.users.in_train), bool)
    visits[impressions.user] = True
    shown[world.histories.values[visits[world.histories.rows()]]] = True
    return shown


def _news_line(news_id: str, topic: Topic, story: Story) -> str:
    return "\t".join(
        [
            news_id,
            topic.category,
            topic.name,
            story.title,
            story.abstract,
            f"https://example.org/news/{news_id}",
            entities_json(story.title, story.entities),
            entities_json(story.abstract, story.entities),
        ]
    )


def _write_behaviors(
    folder: Path,
    impressions: Impressions,
    history_fields: list[str],
    news_ids: list[str],
    user_ids: list[str],
    clock_start: datetime,
) -> None:
    """Writes ``behaviors.tsv`` and ``click_logits.txt`` line by line, never a whole split in memory."""
    labelled = ([f"{news_id}-0" for news_id in news_ids], [f"{news_id}-1" for news_id in news_ids])
    candidates = impressions.candidates
    times = mind_times(unix_seconds(clock_start) + impressions.time).to_pylist()
    with (
        _text_file(folder / "behaviors.tsv") as behaviors,
        _text_file(folder / "click_logits.txt") as click_logits,
    ):
        for row, (first, last) in enumerate(pairwise(candidates.offsets)):
            user = impressions.user[row]
            news, clicked = candidates.values[first:last].tolist(), impressions.clicked[first:last].tolist()
            slate = " ".join([labelled[click][item] for item, click in zip(news, clicked, strict=True)])
            behaviors.write(f"{row + 1}\t{user_ids[user]}\t{times[row]}\t{history_fields[user]}\t{slate}\n")
            logits = impressions.logits[first:last].tolist()
            click_logits.write(" ".join([f"{logit:.4f}" for logit in logits]) + "\n")


class _EntityVectors:
    """Vectors in the place of MIND's knowledge graph embeddings: an entity's is its topic's plus noise."""

    def __init__(self, entities: list[list[Entity]], rng: np.random.Generator) -> None:
        self.entities = [entity for of_topic in entities for entity in of_topic]
        topic_vectors = rng.normal(0, 0.1, (len(entities), ENTITY_DIM))
        noise = rng.normal(0, 0.05, (len(self.entities), ENTITY_DIM))
        self.vectors = topic_vectors[[entity.topic for entity in self.entities]] + noise
        self.relations = rng.normal(0, 0.1, (NUM_RELATIONS, ENTITY_DIM))

    def write(self, folder: Path, stories: list[Story]) -> None:
        """Writes the vectors of the entities that ``stories`` name, and of all relations."""
        named = {entity.wikidata_id for story in stories for entity in story.entities}
        _write_lines(
            folder / "entity_embedding.vec",
            (
                _vector_line(entity.wikidata_id, vector)
                for entity, vector in zip(self.entities, self.vectors, strict=True)
                if entity.wikidata_id in named
            ),
        )
        _write_lines(
            folder / "relation_embedding.vec",
            (_vector_line(f"P{FIRST_WIKIDATA_NUMBER + row}", vector) for row, vector in enumerate(self.relations)),
        )


def _vector_line(name: str, vector: np.ndarray) -> str:
    return "\t".join([name, *(f"{value:.6f}" for value in vector)])


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with _text_file(path) as file:
        file.writelines(f"{line}\n" for line in lines)


def _text_file(path: Path) -> TextIO:
    # Without newline="\n", Windows would write other bytes.
    return path.open("w", encoding="utf-8", newline="\n")
