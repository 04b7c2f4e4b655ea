"""Fuzzes a reader with inputs that are bred for the code they reach, by atheris (libFuzzer), for a bounded time.

    python tests/reliability/coverage_guided.py --seconds 60 [--reader news]

atheris is no dependency of the package: `pip install atheris` (Linux and macOS). An input that a reader fails on is
written to `--out` and ends the run with status 1; it belongs into the tests of that reader.
"""

import argparse
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
with atheris.instrument_imports(include=["recommenders_miner"]):
    from tests.reliability.readers import READERS, check

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--reader", choices=READERS, help="all of them, one after the other, where left out")
parser.add_argument("--seconds", type=int, default=60, help="for each reader")
parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "recommenders-miner-fuzz")
arguments = parser.parse_args()
if arguments.reader is None:  # libFuzzer ends the process that it runs in
    command = [sys.executable, *sys.argv, "--reader"]
    failed = [name for name in READERS if subprocess.run([*command, name], check=False).returncode]
    sys.exit(f"Errors in: {', '.join(failed)}." if failed else 0)
logging.getLogger("recommenders_miner").setLevel(logging.CRITICAL)
reader, corpus = READERS[arguments.reader], arguments.out / arguments.reader / "corpus"
corpus.mkdir(parents=True, exist_ok=True)
for number, content in enumerate(reader.good()):
    (corpus / f"good-{number}").write_bytes(content)
options = [f"-max_total_time={arguments.seconds}", "-timeout=20", "-max_len=4096", "-len_control=0"]
atheris.Setup(
    [sys.argv[0], *options, f"-artifact_prefix={corpus.parent}/", str(corpus)],
    atheris.instrument_func(lambda content: check(reader, content, alarm=False)),
)
atheris.Fuzz()
