"""The cost of an experiment or a comparison, printed before it is begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from fusionkit.cli.terminal.output import print_json, print_paragraph, print_table
from fusionkit.report.text.units import in_time

if TYPE_CHECKING:
    from fusionkit.experiments import Study
    from fusionkit.experiments.cost import ExperimentCost


def print_dry_run(study: Study, processes: int | None, as_json: bool) -> None:
    """Prints what an experiment will cost, the preparation of its films among it, and what it lacks.

    Raises:
        RecipeError: What its encoders start from is not there and cannot be trained; it is said after the cost.
    """
    from fusionkit.execution.workers import count_processors

    cost, at_once = study.cost(processes=processes), processes or count_processors()
    waiting = study.estimate_films()
    clips, hours = sum(each.clips for each in waiting), sum(each.estimate_hours(at_once) for each in waiting)
    if as_json:
        films = {"clips_to_prepare": clips, "preparation_hours": hours} if waiting else {}
        print_json({**films, **cost.plain()})
    else:
        if waiting:
            print_paragraph(
                f"{clips:,} clips have to be prepared first, about {in_time(hours)} from timed clips, with {at_once} "
                "at a time. Until they are, runs are timed on noise that is as long as the headers of films say.\n"
            )
        print_cost(cost)
    study.check_pretraining()


def print_cost(cost: ExperimentCost) -> None:
    """Prints what an experiment will cost."""
    if not cost.variants:
        typer.echo("Every run is finished; the results are written again.")
        return
    if cost.pretraining:
        print_paragraph(f"Trained first, and not counted below: {', '.join(cost.pretraining)}.\n")
    rows = [
        [each.variant, str(each.runs), in_time(each.run_hours), in_time(each.runs * each.run_hours)]
        for each in cost.variants
    ]
    title = f"Cost on {cost.device}, from timed steps"
    print_table(title, ["variant", "runs left", "a run", "its runs"], [rows], right=(1, 2, 3))
    elements = ", ".join(f"{name} {count:,}" for name, count in cost.elements.items())
    print_paragraph(
        f"\n{cost.clips:,} clips with {elements} elements. {cost.runs} runs are left, about {in_time(cost.hours)} with "
        f"{min(cost.processes, cost.runs)} at a time; starting, evaluating and reporting come on top.\n"
    )
