"""A command of `recommenders-miner` as a job of a Ray cluster, which goes on where this machine's connection breaks."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Sequence

from ray.job_submission import JobStatus, JobSubmissionClient


def run_job(address: str, words: Sequence[str]) -> int:
    """Run a command's words on the cluster with that HTTP address, copying what it prints; return its exit status."""
    client = JobSubmissionClient(address)
    job = client.submit_job(entrypoint=shlex.join(["recommenders-miner", *words]))
    print(f"{job} runs at {address}; `ray job stop {job}` ends it.", flush=True)

    async def copy() -> None:
        async for lines in client.tail_job_logs(job):
            sys.stdout.write(lines)
            sys.stdout.flush()

    asyncio.run(copy())
    return 0 if client.get_job_status(job) == JobStatus.SUCCEEDED else 1
