"""Several models on one data set, trained and evaluated in turn, beside floors and ceilings that need no training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recommenders_miner.data.folders import Split
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.evaluation.baselines import history_oracle_scores, popularity_scores, random_scores
from recommenders_miner.evaluation.submission import read_scores
from recommenders_miner.experiments.comparison import Comparison
from recommenders_miner.experiments.results import ResultRow
from recommenders_miner.experiments.runs import DevLog, Runs
from recommenders_miner.experiments.variants import Variant, require_known
from recommenders_miner.models import BaseModel

TRUTH_FILE = "click_logits.txt"


def compare(
    data_dir: str | Path,
    models: Sequence[str],
    out: str | Path,
    overrides: dict[str, Any] | None = None,
    seeds: Sequence[int] = (42,),
    skip_unavailable: bool = False,
    scale: str = "paper",
) -> Comparison:
    """Train and evaluate models on `data_dir/train` and `data_dir/dev`.

    What is done is written at once: after each model, results.json, results.md, results.png and results.svg in `out`
    hold all the rows so far. Each run is kept in `out/runs/<name>/seed-<seed>`, its model in the folder `model` there;
    a comparison that was stopped goes on where it was.

    Args:
        data_dir: holds train/ and dev/, each with news.tsv and behaviors.tsv; where dev/click_logits.txt tells the
            truth, the oracles join the table.
        models: names or paths of hyperparameter files.
        out: the folder of results.
        overrides: hyperparameters that win over the files', for those of the models that have them.
        seeds: of every model, and of the random row; with several, rows are means over them, with their spread.
        skip_unavailable: leave out, with a warning, the models whose pretrained language model cannot be had.
        scale: `paper` takes the hyperparameter files as they are; `fast` sizes that suit two cores and little data.

    Raises:
        DataFormatError: a file is missing or damaged.
        HParamsError: a hyperparameter file is wrong, or an override, or none of the models has it; raised before
            anything is trained.
        PresetError: a language model cannot be had, and such models are not to be left out.
    """
    overrides = overrides or {}
    require_known(overrides, models)
    variants = [Variant(Path(name).stem, name) for name in models]
    hparams = {variant.name: variant.hparams(scale, overrides) for variant in variants}
    runs = Runs(data_dir, Path(out) / "runs")
    comparison = Comparison(str(data_dir), seeds[0], reference_rows(runs.train, runs.dev, seeds), len(seeds))
    comparison.write(out)
    for _, found in runs.each(hparams, seeds, skip_unavailable):
        comparison.results.append(ResultRow.mean([run.row for run in found]))
        comparison.write(out)
    return comparison


def compare_trained(model: BaseModel, name: str, data_dir: str | Path) -> Comparison:
    """Evaluate a model that is trained already, beside floors and ceilings that need no training.

    Args:
        model: the model, trained on `data_dir/train`.
        name: what its row is called.
        data_dir: as in `compare`; the model is evaluated on `data_dir/dev`.

    Raises:
        DataFormatError: a file is missing or damaged.
    """
    train, dev = Split.find(data_dir, "train"), Split.find(data_dir, "dev")
    dev_data = DevLog.read(train, dev)
    evaluation = dev_data.evaluate(model.score_log(model.read(dev.news, dev.behaviors)))
    row = ResultRow.from_evaluation(name, evaluation, parameters=model.network.count_params())
    return Comparison(str(data_dir), model.seed, [row, *reference_rows(train, dev_data, [model.seed])])


def reference_rows(train: Split, dev: DevLog, seeds: Sequence[int]) -> list[ResultRow]:
    """Evaluate what needs no training: random and popularity, and where dev tells the truth, the two oracles.

    Args:
        train: the training split, whose clicks make news popular.
        dev: what to evaluate on.
        seeds: of the random row; every row is a mean over them, as the trained models' are.
    """
    training_news = NewsTable.read(train.news)
    training_log = ImpressionLog.read(train.behaviors, training_news)
    scores = {"popularity": popularity_scores(dev.log, dev.news, training_log, training_news)}
    truth = dev.files.behaviors.parent / TRUTH_FILE
    if truth.exists():
        scores["history-oracle"] = history_oracle_scores(dev.log, dev.news)
        scores["oracle"] = read_scores(truth, dev.log).values
    random = [ResultRow.from_evaluation("random", dev.evaluate(random_scores(dev.log, seed))) for seed in seeds]
    others = [ResultRow.from_evaluation(name, dev.evaluate(values)) for name, values in scores.items()]
    return [ResultRow.mean(random), *(ResultRow.mean([row] * len(seeds)) for row in others)]
