"""Kills a hundred processes at random moments, and checks after each that nothing is misread.

    python tests/kill/run.py --kills 100

Of a hundred, 30 fall on processes that fetch MIND, 30 on ones that build a cache, 25 on ones that save a model, 15 on
ones that train.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

SHARES = {"fetch": 0.3, "cache": 0.3, "saving": 0.25, "training": 0.15}

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="fixes the moments, as far as a clock can")
    parser.add_argument("--only", choices=SHARES)
    arguments = parser.parse_args()

    from tests.kill.trial import Trial

    with tempfile.TemporaryDirectory() as workplace:
        trial = Trial(Path(workplace), random.Random(arguments.seed))
        shares = SHARES if arguments.only is None else {arguments.only: 1}
        for name, share in shares.items():
            report = trial.run(name, round(arguments.kills * share))
            print(f"{name}: {report.kills} kills survived, {report.seconds:.0f} s", flush=True)
            for what, count in sorted((+report.found).items()):
                print(f"    {what}: {count}", flush=True)


if __name__ == "__main__":
    main()
