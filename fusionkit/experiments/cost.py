"""The cost of an experiment before it is begun: clips, elements, runs, and hours from timed steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fusionkit.config.initial_weights import drop_weights
from fusionkit.data.assembly import Assembly, assemble
from fusionkit.data.loading.failures import measure_length
from fusionkit.data.sources import Datasets
from fusionkit.execution.workers import use_one_thread
from fusionkit.experiments.agenda import Agenda
from fusionkit.experiments.job import Job
from fusionkit.experiments.prerequisites import find_missing_pretraining

if TYPE_CHECKING:
    from fusionkit.training.profiling.stage_timing import StageTime


@dataclass(frozen=True)
class VariantCost:
    """The cost of the runs of one variant that are left.

    Args:
        variant: The variant.
        runs: Runs that are left.
        stages: The timed stages of one run.
    """

    variant: str
    runs: int
    stages: tuple[StageTime, ...]

    @property
    def run_hours(self) -> float:
        """Hours of one run."""
        return sum(stage.seconds for stage in self.stages) / 3600


@dataclass(frozen=True)
class ExperimentCost:
    """The cost of all that is left of an experiment.

    Args:
        device: Where the steps were timed.
        clips: Samples of the folds, each counted once.
        elements: By modality, the elements of these samples: frames of a film, samples of a wave.
        variants: By variant, what its runs will cost.
        processes: Runs at a time.
        pretraining: Recipes that are trained first; their cost is not counted.
    """

    device: str
    clips: int
    elements: Mapping[str, int]
    variants: tuple[VariantCost, ...]
    processes: int
    pretraining: tuple[str, ...] = ()

    @property
    def runs(self) -> int:
        """Runs that are left."""
        return sum(variant.runs for variant in self.variants)

    @property
    def hours(self) -> float:
        """Hours on this device, if the processes do not slow each other down."""
        total = sum(variant.runs * variant.run_hours for variant in self.variants)
        return total / max(1, min(self.processes, self.runs))

    def plain(self) -> dict[str, Any]:
        """Returns the cost as plain data, sums included."""
        return {**asdict(self), "runs": self.runs, "hours": self.hours}


def estimate_cost(agenda: Agenda, waiting: Sequence[Job], datasets: Datasets, processes: int) -> ExperimentCost:
    """Times a few steps of every variant on the first fold that is left, and counts.

    Args:
        agenda: The experiment.
        waiting: Its runs that are left.
        datasets: Datasets that are open.
        processes: Runs at a time.

    Raises:
        DataError: The samples cannot be read.
    """
    from fusionkit.training.profiling.stage_timing import time_stages
    from fusionkit.training.trainer import make_fabric

    first: dict[str, Job] = {}
    for job in waiting:
        first.setdefault(job.variant, job)
    # Weights that encoders start from need not be there yet, and change no time.
    assemblies = {variant: assemble(drop_weights(job.recipe), datasets) for variant, job in first.items()}
    with use_one_thread():
        variants = tuple(
            VariantCost(variant, sum(job.variant == variant for job in waiting), tuple(time_stages(assembly)))
            for variant, assembly in assemblies.items()
        )
    pretraining = tuple(todo.recipe for todo in find_missing_pretraining(agenda.experiment))
    clips, elements = _count_elements(agenda, list(assemblies.values()))
    device = str(make_fabric(next(iter(assemblies.values())).recipe).device) if assemblies else "nothing is left"
    return ExperimentCost(device, clips, elements, variants, processes, pretraining)


def _count_elements(agenda: Agenda, assemblies: Sequence[Assembly]) -> tuple[int, Mapping[str, int]]:
    ids = {name for fold in agenda.folds for name in (*fold.train, *fold.test)}
    elements: dict[str, int] = {}
    for assembly in assemblies[:1]:
        positions = [index for index, row in enumerate(assembly.dataset.rows) if row.id in ids]
        for modality in assembly.recipe.model.modalities:
            elements[modality] = sum(measure_length(assembly.dataset, index, modality) for index in positions)
    return len(ids), elements
