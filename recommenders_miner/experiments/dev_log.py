"""The log that models are compared on, with all that its evaluation needs of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from recommenders_miner.data.context import Context
from recommenders_miner.data.folders import Split
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.tsv import OnError, SkipReport
from recommenders_miner.evaluation.beyond_accuracy import BeyondAccuracy, ranked_lists
from recommenders_miner.evaluation.metrics import Evaluation, cold_candidates, evaluate_cold, evaluate_scores
from recommenders_miner.evaluation.normative import Normative


@dataclass(frozen=True)
class DevLog:
    """The log that models are compared on, where it was read from, and what they are trained on."""

    files: Split
    log: ImpressionLog
    news: NewsTable
    training_log: ImpressionLog
    training_news: NewsTable
    cold: np.ndarray
    """(candidates,) bool, which of its candidates training never saw."""
    beyond: BeyondAccuracy
    normative: Normative | None = None

    @classmethod
    def read(cls, train: Split, dev: Split, on_error: OnError = "raise", normative: bool = False) -> Self:
        """Read both splits, to know what is new in dev; `on_error` is as in `BaseModel.fit`.

        With `normative`, lists are evaluated by the metrics of `Normative`, too.

        Raises:
            DataFormatError: a file is missing or damaged, train has no labels, or dev no click with a non-click beside.
        """
        training_news, news = NewsTable.read(train.news, on_error), NewsTable.read(dev.news, on_error)
        logs = ImpressionLog.read(dev.behaviors, news, on_error), news
        logs += ImpressionLog.read(train.behaviors, training_news, on_error), training_news
        logs[0].require("evaluate on")
        if not logs[2].labelled:
            logs[2].require("train on")
        measured = BeyondAccuracy.fit(*logs), Normative.fit(*logs) if normative else None
        return cls(dev, *logs, cold_candidates(*logs), *measured)

    @property
    def left_out(self) -> list[SkipReport]:
        """What was left out of the files, where anything was."""
        read = (self.training_news, self.training_log, self.news, self.log)
        return [table.skipped for table in read if table.skipped and table.skipped.counts]

    def context(self, horizon: float | str) -> Context:
        """Return what is known at each impression, on from the training log; `horizon` is that of `Context`."""
        earlier = Context.of_log(self.training_log, self.training_news, horizon=horizon).counts()
        return Context.of_log(self.log, self.news, earlier, horizon)

    def evaluate(self, scores: np.ndarray) -> Evaluation:
        """Return what (candidates,) scores reach: accuracy, among cold news too, and beyond accuracy."""
        found = evaluate_scores(scores, self.log.labels, self.log.candidates.offsets)
        lists = ranked_lists(self.log.candidates, scores)
        for measured in filter(None, (self.beyond, self.normative)):
            found = found.with_metrics_of(measured.evaluate_lists(lists))
        cold = evaluate_cold(scores, self.log, self.cold)
        return found if cold is None else found.with_metrics_of(cold)
