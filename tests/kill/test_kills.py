"""A process that is killed leaves nothing that the next one misreads. `run.py` kills a hundred; these are a few."""

from __future__ import annotations

import os
import random

import pytest

from tests.kill.trial import Trial

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="there is no forkserver")]


@pytest.mark.parametrize(("name", "kills"), [("fetch", 8), ("cache", 8), ("saving", 6), ("training", 4)])
def test_killed_processes(name, kills, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.getcwd(), prepend=os.pathsep)
    assert Trial(tmp_path, random.Random(1)).run(name, kills).kills == kills
