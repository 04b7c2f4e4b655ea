"""Fuzzes a reader with inputs that are bred for the code they reach, by atheris (libFuzzer), for a bounded time.

    python tests/fuzz/coverage_guided.py --target news --seconds 60
    python tests/fuzz/coverage_guided.py --seconds 60            # every target, a minute each

atheris is no dependency of the package: `pip install atheris` (Linux and macOS). An input that a reader fails on is
written to `--out` and ends the run with status 1; it belongs into the tests of that reader.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
LONGEST_INPUT = 4096
TIMEOUT = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", help="a reader; all of them, one after the other, where left out")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "recommenders-miner-fuzz")
    arguments = parser.parse_args()
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed, or does not run on this platform: pip install atheris (Linux, macOS).")
    if arguments.target is None:
        fuzz_all(arguments.seconds, arguments.out)
    with atheris.instrument_imports(include=["recommenders_miner"]):
        from tests.fuzz.targets import TARGETS
    if arguments.target not in TARGETS:
        parser.error(f"the targets are {', '.join(TARGETS)}")
    fuzz(atheris, arguments.target, arguments.seconds, arguments.out)


def fuzz_all(seconds: int, out: Path) -> None:
    """Runs every target in a process of its own, since libFuzzer ends the process that it runs in."""
    from tests.fuzz.targets import TARGETS

    command = [sys.executable, __file__, "--seconds", str(seconds), "--out", str(out), "--target"]
    failed = [name for name in TARGETS if subprocess.run([*command, name], check=False).returncode]
    sys.exit(f"Faults in: {', '.join(failed)}." if failed else 0)


def fuzz(atheris, name: str, seconds: int, out: Path) -> None:
    """Fuzzes one target; does not return."""
    from tests.fuzz.nearly_right import TOKENS
    from tests.fuzz.targets import TARGETS, check

    logging.getLogger("recommenders_miner").setLevel(logging.CRITICAL)
    target = TARGETS[name]
    corpus, faults = out / name / "corpus", out / name / "faults"
    for folder in (corpus, faults):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    escaped = ("".join(f"\\x{byte:02x}" for byte in token) for token in TOKENS if len(token) < 64)
    dictionary = out / "dictionary.txt"
    dictionary.write_text("".join(f'"{token}"\n' for token in escaped))

    @atheris.instrument_func
    def read(content: bytes) -> None:
        check(target, content, seconds=None)  # libFuzzer has an alarm of its own

    options = [f"-max_total_time={seconds}", f"-timeout={TIMEOUT}", f"-max_len={LONGEST_INPUT}", f"-dict={dictionary}"]
    atheris.Setup(
        [sys.argv[0], *options, "-len_control=0", "-print_final_stats=1", f"-artifact_prefix={faults}/", str(corpus)],
        read,
    )
    print(f"{name}: {seconds} s", flush=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
