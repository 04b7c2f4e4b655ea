"""How a model comes to its articles: those of the news file and of the store, encoded, or from a snapshot on disk."""

from __future__ import annotations

import functools
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from recommenders_miner import __version__
from recommenders_miner.data.folders import ARTICLES_FILE
from recommenders_miner.serving.catalog import Card, Row, read_news
from recommenders_miner.serving.files import MANIFEST
from recommenders_miner.serving.store import Store
from recommenders_miner.storage import new_folder

if TYPE_CHECKING:
    from recommenders_miner.serving.runtime import Recommender

LOGGER = logging.getLogger("recommenders_miner")

Load = Callable[[Path, Path | None], "Recommender"]
"""Loads an export, and the articles of a snapshot if one is given: `Recommender.load`, or a test's."""

_CARDS_FILE = "cards.json"


class Articles:
    """The articles of a news file as a store has changed them; the file is read when they are asked for.

    Attributes:
        last: the number of the store's last change that is in them.
    """

    def __init__(self, news: Path, store: Store) -> None:
        changes = store.articles_since(0)
        self.last = max((number for number, _, _ in changes), default=0)
        self._news, self._changed = news, {article: row for _, article, row in changes}
        self._store_name = store.name

    @functools.cached_property
    def basis(self) -> str:
        """What tells them from others: the files' times and sizes, and the state of the store."""
        files = [path.resolve() for path in (self._news, self._news.with_name(ARTICLES_FILE)) if path.exists()]
        states = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
        return json.dumps([__version__, states, self._store_name, self.last])

    @functools.cached_property
    def of_news(self) -> dict[str, Row]:
        """The rows of the file that the store says nothing of, by id."""
        return {article: row for article, row in read_news(self._news).items() if article not in self._changed}

    @property
    def of_store(self) -> dict[str, Row]:
        """The rows of the store, by id."""
        return {article: row for article, row in self._changed.items() if row is not None}


class Loader:
    """Loads models with their articles.

    Args:
        load: loads a model.
        folder: where snapshots are, one an export, which processes map into memory; None for none.
    """

    def __init__(self, load: Load, folder: Path | None) -> None:
        self._load, self._folder = load, folder

    def load(self, export: Path, articles: Articles) -> tuple[Recommender, dict[str, Card]]:
        """Load a model and let it have articles; return it, and the cards of the articles.

        Where snapshots are kept, the first process to come brings that of the export up to date; others wait for it.
        """
        if self._folder is None:
            model = self._load(export, None)
            return model, _bring(model, {}, articles)
        of_export = blake2b(str(export.resolve()).encode(), digest_size=4).hexdigest()
        version = blake2b((export / MANIFEST).read_bytes(), digest_size=4).hexdigest()
        snapshot = self._folder / f"{of_export}-{version}"
        self._folder.mkdir(parents=True, exist_ok=True)
        with _locked(self._folder / f"{of_export}.lock"):
            basis, cards = _read_cards(snapshot)
            if basis != articles.basis:
                model = self._load(export, snapshot if basis else None)
                cards = _bring(model, cards, articles)
                with new_folder(snapshot, overwrite=True) as made:
                    model.save_snapshot(made)
                    document = {"basis": articles.basis, "cards": list(cards.values())}
                    (made / _CARDS_FILE).write_text(json.dumps(document), encoding="utf-8")
                for old in self._folder.glob(f"{of_export}-*"):
                    if old != snapshot:  # a process that has it mapped keeps what it has
                        shutil.rmtree(old, ignore_errors=True)
            return self._load(export, snapshot), cards


def _read_cards(snapshot: Path) -> tuple[str | None, dict[str, Card]]:
    """Return the basis and the cards of a snapshot; None and none where there is none of this version."""
    try:
        document = json.loads((snapshot / _CARDS_FILE).read_text(encoding="utf-8"))
        [version, *_] = json.loads(document["basis"])
    except (OSError, ValueError):
        return None, {}
    if version != __version__:
        return None, {}
    return document["basis"], {card[0]: Card(*card) for card in document["cards"]}


def _bring(model: Recommender, cards: Mapping[str, Card], articles: Articles) -> dict[str, Card]:
    """Let a model that has the articles of some cards have others; return their cards.

    An article of the store that the model cannot read is left out: it was put there when others answered.
    """
    news, put = articles.of_news, articles.of_store
    wanted = {article: Card.of(row) for article, row in (news | put).items()}
    new = [article for article, card in wanted.items() if article not in cards or cards[article].digest != card.digest]
    if gone := [article for article in cards if article not in wanted]:
        model.remove(gone)
    if of_news := [news[article] for article in new if article in news]:
        model.add_articles(of_news)
    for article in add_readable([model], [put[article] for article in new if article in put]):
        del wanted[article]
    return wanted


def add_readable(models: Sequence[Recommender], rows: Sequence[Row]) -> list[str]:
    """Add articles to models; return the ids of those that some model cannot read, which are then in none."""
    if not rows:
        return []
    try:
        for model in models:
            model.add_articles(rows)
        return []
    except Exception as error:
        if len(rows) > 1:  # which of them it is, is not known
            return [article for row in rows for article in add_readable(models, [row])]
        article = rows[0]["id"]
        LOGGER.error("Article %s in the store is left out, since a model cannot read it: %s", article, error)
        for model in models:
            model.remove([article])
        return [article]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process is in such a block; a lock of a process that was killed is gone with it."""
    import fcntl  # Windows has none; there a service goes without snapshots

    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
