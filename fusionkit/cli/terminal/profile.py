"""The profile of every stage, as `train --profile` prints it."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from typing import TYPE_CHECKING

from fusionkit.cli.terminal.output import open_console, print_paragraph, print_table
from fusionkit.report.text.units import in_rate, in_seconds

if TYPE_CHECKING:
    from fusionkit.storage.run_folder import RunFolder
    from fusionkit.training import Profile
    from fusionkit.training.profiling.step_profile import StageProfile


def make_profile(run: RunFolder, as_json: bool) -> Profile:
    """Makes a profile that is printed as soon as it is known, above the bar of a training that goes on."""
    from fusionkit.training import Profile

    out = sys.stdout

    def tell(found: StageProfile) -> None:
        # A live bar takes what is printed to the terminal of the errors; where the output is none, it goes there.
        with nullcontext() if out.isatty() else redirect_stdout(out):
            _print_profile(found, run)

    return Profile(None if as_json else tell)


def _print_profile(found: StageProfile, run: RunFolder) -> None:
    rows = [(each.name, in_seconds(each.seconds), f"{each.share:.1%}") for each in found.parts]
    whole = ("a step", in_seconds(found.step_seconds), f"{sum(each.share for each in found.parts):.1%}")
    title = f"A step of the stage {found.stage}, on {found.device}"
    print_table(title, ["part", "time", "share"], [rows, [whole]], right=(1, 2))
    waited = " Each part is waited for, so these steps are slower than others." if found.device != "cpu" else ""
    rate = f"{in_rate(found.clips_per_second)} clips/s"
    print_paragraph(f"\nMeans of {found.steps} steps, after {found.skipped} that warmed up; {rate}.{waited}")
    if found.operators:
        told = ", ".join(f"{each.name} {in_seconds(each.seconds)}" for each in found.operators)
        print_paragraph(f"Heaviest operators, in a step: {told}")
    print_paragraph(found.advice)
    open_console().print(f"Trace for Perfetto: {run.trace_file}\n", soft_wrap=True)
