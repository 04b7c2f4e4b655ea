"""The profiles are what docs/settings.yaml says, as docs/reproduction.md shows; run this file to write its table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from recommenders_miner.experiments.runs import TABLE_2
from recommenders_miner.hparams import hparams_files, prepare_hparams

ROOT = Path(__file__).parents[1]
PAGE, FACTS = ROOT / "docs" / "reproduction.md", yaml.safe_load((ROOT / "docs" / "settings.yaml").read_text())
BEGIN, END = "<!-- settings: made by tests/test_settings.py of docs/settings.yaml -->", "<!-- end of settings -->"
NO_SETTINGS = {"model_type", "news_encoder", "metrics"}
"""Keys of the files that say what a model is, or what is reported."""


def settings_of(name: str) -> dict[str, dict]:
    """A model's settings, those of its base first."""
    facts = FACTS[name]
    return {**(settings_of(facts["base"]) if "base" in facts else {}), **facts["settings"]}


def ours(setting: dict, scale: str) -> object:
    return setting.get(scale, setting["ours"])


def test_the_facts_are_about_the_models_of_table_2():
    assert tuple(FACTS) == TABLE_2
    assert "settings" not in hparams_files()


@pytest.mark.parametrize("scale", ["paper", "recommenders"])
@pytest.mark.parametrize("name", TABLE_2)
def test_a_profile_is_what_the_facts_say(name, scale):
    hparams = prepare_hparams(name, scale=scale)
    expected = {key: ours(setting, scale) for key, setting in settings_of(name).items()}
    assert {key: getattr(hparams, key) for key in expected} == expected


@pytest.mark.parametrize("scale", ["paper", "recommenders"])
@pytest.mark.parametrize("name", TABLE_2)
def test_the_facts_speak_of_every_setting_that_is_not_a_default(name, scale):
    hparams = prepare_hparams(name, scale=scale)
    defaults = type(hparams)(model_type=hparams.model_type, news_encoder=hparams.news_encoder)
    changed = {key for key, value in hparams if value != getattr(defaults, key)} - NO_SETTINGS
    assert changed <= set(settings_of(name))


@pytest.mark.parametrize("name", TABLE_2)
def test_where_ours_differs_the_facts_say_why(name):
    facts = FACTS[name]
    of_recommenders = facts.get("reference", "").startswith("Recommenders")
    for key, setting in facts["settings"].items():
        assert set(setting) <= {"published", "reference", "ours", "recommenders", "why"}, key
        followed = setting.get("published", setting.get("reference", setting["ours"]))
        differs = setting["ours"] != followed
        if of_recommenders and "reference" in setting:
            differs |= ours(setting, "recommenders") != setting["reference"]
        assert differs == ("why" in setting), f"{name}, {key}"


def test_the_page_shows_the_facts():
    page = PAGE.read_text(encoding="utf-8")
    assert settings_table() in page, "Run python tests/test_settings.py"
    assert page.count(BEGIN) == page.count(END) == 1


# === The table ===


def settings_table() -> str:
    """The facts as Markdown, a table for each model."""
    return "\n\n".join([BEGIN, *(_of_model(name) for name in FACTS), END])


def _of_model(name: str) -> str:
    facts = FACTS[name]
    if "base" in facts:
        changed = ", ".join(f"`{key}: {setting['ours']}`" for key, setting in facts["settings"].items())
        return f"**{facts['title']}** (`{name}`): as {FACTS[facts['base']]['title']}, with {changed}."
    has_profile = any("recommenders" in setting for setting in facts["settings"].values())
    header = ["Setting", "Published", "Reference", "`paper`", *(["`recommenders`"] if has_profile else []), "Why"]
    rows = []
    for key, setting in facts["settings"].items():
        values = [setting.get("published", ""), setting.get("reference", ""), setting["ours"]]
        values += [ours(setting, "recommenders")] if has_profile else []
        rows.append([f"`{key}`", *map(_written, values), setting.get("why", "")])
    about = f"{facts['paper']}. Published: {facts['published']}. Reference: {facts['reference']}."
    beside = "\n".join(f"- {line}" for line in facts["beside"])
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"**{facts['title']}** (`{name}`): {about}\n\n{table}\n\n{beside}"


def _written(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: settings_table(), old), encoding="utf-8")
