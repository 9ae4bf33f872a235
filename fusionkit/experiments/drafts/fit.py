"""One line from a table to a trained and measured network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fusionkit.data.sources import Datasets
from fusionkit.evaluation import evaluate
from fusionkit.experiments.drafts.draft import Draft, make_draft
from fusionkit.experiments.drafts.plan import Wishes
from fusionkit.experiments.prerequisites import prepare_films
from fusionkit.inference.load import load
from fusionkit.inference.predictor import Predictor
from fusionkit.storage.records.card import Card
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train


@dataclass(frozen=True)
class Fit:
    """A network that `fit` has trained and measured.

    Args:
        run: Its run folder: weights, recipe, log and card.
        card: How good it is on the samples that it has not seen, and under which protocol.
        recipe_file: The drafted recipe.
        experiment_file: The drafted experiment, which says whether fusing helps; None of one modality.
        remarks: What was seen in the table and assumed, in sentences.
    """

    run: RunFolder
    card: Card
    recipe_file: Path
    experiment_file: Path | None
    remarks: tuple[str, ...]

    @cached_property
    def predictor(self) -> Predictor:
        """The network, ready to predict: ``done.predictor.predict("new.csv")``. It is loaded at its first use."""
        return load(self.run.path)


def fit(
    table: str | os.PathLike[str],
    *,
    target: str | Sequence[str] = (),
    group: str | None = None,
    ignore: Sequence[str] = (),
    root: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    progress: bool = False,
) -> Fit:
    """Drafts a recipe from a table, trains it on one fold and measures it on the samples held out.

    It is `fusionkit init` and `fusionkit train` in one line. The same call again goes on where it was stopped, and a
    finished run is only measured. Whether fusing helps is said by the experiment that it leaves beside the recipe.

    Args:
        table: A table (csv, tsv, jsonl, parquet), or a folder of files.
        target: The column to predict, or several; looked for by name when left out.
        group: The column of the person or machine of a row; looked for by name and values when left out.
        ignore: Columns to leave out.
        root: The folder that paths in the table start from; looked for when left out.
        out: The folder of recipe, experiment and run; ``runs/`` and the name of the table when left out.
        overrides: ``key.path=value``, changes to the recipe that is trained.
        overwrite: Replace a drafted recipe that holds something else by now.
        progress: Show bars.

    Returns:
        The run, its card, and what was assumed.

    Raises:
        DataError: The table or its files are wrong, or its target is not recognised; every problem is listed.
        RecipeError: An override is wrong, or a target has nothing to tell apart.
        RunError: A file is there already and holds something else, or cannot be written.

    Example:
        The answer of the network that was trained::

            import fusionkit

            done = fusionkit.fit("samples.csv", target="wear")
            print(done.card.targets["wear"].branches["fused"].metrics)
            done.predictor.predict("new.csv")[0].targets["wear"].prediction
    """
    # A table is named in full, so that the recipe and the run are good wherever they are used from.
    source = Path(os.path.abspath(os.path.expanduser(table)))
    folder = Path(os.path.abspath("runs" if out is None else out))
    folder = folder / source.stem if out is None else folder
    targets = (target,) if isinstance(target, str) else tuple(target)
    start = None if root is None else os.path.abspath(root)
    draft = make_draft(str(source), folder, Wishes(targets, group, tuple(ignore), start))
    draft.write(overwrite=overwrite)
    run, card = _train(draft, folder / "run", overrides, progress=progress)
    return Fit(run, card, draft.recipe_file, draft.experiment_file, tuple(draft.plan.remarks))


def _train(draft: Draft, out: Path, overrides: Sequence[str], *, progress: bool) -> tuple[RunFolder, Card]:
    datasets = Datasets()
    prepare_films([draft.recipe], datasets, processes=1, progress=progress)
    run = train(draft.recipe_file, out, tuple(overrides), resume=True, progress=progress, datasets=datasets)
    return run, evaluate(run, datasets=datasets)
