"""Runs the notebooks from start to end: `python examples/run.py [NAME …] [--preset demo]`.

On the preset `demo`, whose outputs are committed, notebooks are written back with their outputs; on any other they are
only run, as a check. The committed outputs of unbert.ipynb are of `tiny`: on `demo` it takes more than ten minutes. A
notebook that needs MiniLM is left out, with a message, where MiniLM has not been fetched.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from recommenders_miner.datasets.synthetic.benchmark import PRESETS, write_synthetic_benchmark

FOLDER = Path(__file__).resolve().parent
COMMITTED_PRESET = "demo"
PRESET_VARIABLE = "RECOMMENDERS_MINER_PRESET"
# A notebook's metadata, with nothing that differs between machines.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


# Keep what TensorFlow's C++ prints on starting, with times and process ids, out of the outputs.
KERNEL_OPTIONS = ("--IPKernelApp.capture_fd_output=False", "--log-level=ERROR")
# And what tqdm, which KerasHub imports, prints where ipywidgets is not installed.
IGNORED_WARNING = "ignore:IProgress not found"


class ThisPython(KernelSpecManager):
    """Starts kernels with the Python that runs this script, whatever kernels the machine has."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the one kernel there is."""
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", *KERNEL_OPTIONS, "-f", "{connection_file}"])


def run(path: Path, out: Path | None) -> tuple[str, float, str | None]:
    """Run one notebook in its own folder.

    Args:
        path: the notebook.
        out: the folder to write it to with its outputs; None writes nothing.

    Returns:
        Its name, the seconds that it took, and what went wrong, None where nothing did.
    """
    notebook = nbformat.read(path, as_version=4)
    manager = AsyncKernelManager(kernel_spec_manager=ThisPython())
    client = NotebookClient(
        notebook, km=manager, timeout=None, record_timing=False, resources={"metadata": {"path": str(path.parent)}}
    )
    began = time.perf_counter()
    try:
        client.execute(stderr=subprocess.DEVNULL, cleanup_kc=True)  # else the kernel stays behind
    except CellExecutionError as error:
        return path.stem, time.perf_counter() - began, f"{error.ename}: {error.evalue}"
    if out is not None:
        notebook.metadata = nbformat.from_dict(METADATA)
        nbformat.write(notebook, out / path.name)
    return path.stem, time.perf_counter() - began, None


def main() -> int:
    """Run the notebooks that the command line names, or all; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="without .ipynb; by default all notebooks")
    parser.add_argument("--preset", default=COMMITTED_PRESET, choices=PRESETS)
    parser.add_argument("--out", type=Path, help="folder to write to; on demo, by default where the notebooks are")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks at once")
    arguments = parser.parse_args()
    os.environ |= {PRESET_VARIABLE: arguments.preset, "PYTHONWARNINGS": IGNORED_WARNING}
    # Before any notebook does it, since two at once would collide.
    if not (data := FOLDER / "data" / arguments.preset).exists():
        write_synthetic_benchmark(data, arguments.preset)
    paths = [FOLDER / f"{name}.ipynb" for name in arguments.names] or sorted(FOLDER.glob("*.ipynb"))
    out = arguments.out or (FOLDER if arguments.preset == COMMITTED_PRESET else None)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    failed = False
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for name, seconds, problem in pool.map(run, paths, [out] * len(paths)):
            left_out = problem is not None and problem.startswith("PresetError")
            failed |= problem is not None and not left_out
            print(f"{name}: {seconds:.0f} s" if problem is None else f"{name}: {problem}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
