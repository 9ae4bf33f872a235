"""Runs on several processes, none of which can take the others down with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fusionkit.data.sources import datasets_shared
from fusionkit.execution import workers as pool
from fusionkit.experiments.agenda import Failure, Job, do

Report = Callable[[Job, Failure | None], None]


def run_jobs(jobs: Sequence[Job], processes: int, report: Report) -> list[Failure]:
    """Does all jobs, each on one thread, and reports every end.

    With one process they run in this one; with several in workers that keep their datasets from run to run. A worker
    that dies fails its run only. Ctrl-C asks the workers to write their checkpoints and waits for them.

    Args:
        jobs: The runs, in order.
        processes: How many run at a time.
        report: Called in this process as runs end.

    Returns:
        The runs that failed.
    """
    failures: list[Failure] = []

    def ended(job: Job, result: Failure | pool.Death | None) -> None:
        if isinstance(result, pool.Death):
            result = Failure(job, f"the process that ran it ended with exit status {result.status}")
        if result is not None:
            failures.append(result)
        report(job, result)

    pool.run_jobs(jobs, do, processes, ended, around=datasets_shared)
    return failures
