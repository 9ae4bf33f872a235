"""A recipe and an experiment from a table or a folder, checked as a training would check them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import Recipe
from fusionkit.config.yaml import read_yaml
from fusionkit.data.assembly import assemble
from fusionkit.data.loading.lengths import measure_lengths
from fusionkit.data.readers.files import expand_path
from fusionkit.data.sources import Datasets
from fusionkit.errors import DataError, Problem, RunError
from fusionkit.experiments.drafts.folders import list_folder
from fusionkit.experiments.drafts.plan import Wishes, make_plan, read_own_table
from fusionkit.experiments.drafts.recipe_text import Plan, write_experiment, write_recipe
from fusionkit.models.build import build
from fusionkit.storage.files import folder_name, write_file


@dataclass(frozen=True)
class Draft:
    """A recipe of a table, and an experiment where there is something to fuse.

    Args:
        plan: All that the recipe says, with what was seen and assumed.
        recipe: The recipe, checked.
        recipe_file: Where the recipe is to stand.
        experiment_file: Where the experiment is to stand; None of one modality.
        texts: By file what is to stand in it, the table of a folder among them.
    """

    plan: Plan
    recipe: Recipe
    recipe_file: Path
    experiment_file: Path | None
    texts: Mapping[Path, str]

    def write(self, *, overwrite: bool = False) -> tuple[Path, ...]:
        """Writes the files; those that are there with the same content stay as they are.

        Args:
            overwrite: Replace files of these names that hold something else.

        Raises:
            RunError: A file of a name is there already, or cannot be written; then nothing is written.
        """
        taken = [file for file, text in self.texts.items() if file.exists() and not _holds(file, text)]
        if taken and not overwrite:
            named = ", ".join(map(str, taken))
            raise RunError(f"{named}: exists already; choose another folder with --out, or replace it with --overwrite")
        for file, text in self.texts.items():
            if not _holds(file, text):
                _make_folder(file.parent)
                write_file(file, text.encode())
        return tuple(self.texts)


def make_draft(source: str, out: Path, wishes: Wishes) -> Draft:
    """Drafts a recipe of a table or a folder; nothing is written.

    Args:
        source: A table, or a folder of files.
        out: The folder that the files are for.
        wishes: What the user says of the table.

    Raises:
        DataError: The table or its files are wrong, or its target is not recognised; every problem is listed.
        RecipeError: A target has nothing to tell apart.
    """
    path = expand_path(source)
    stem = folder_name(path.resolve().stem if not path.is_dir() else path.resolve().name)
    listed = list_folder(path) if path.is_dir() else None
    if listed is not None and listed.table is not None:
        source, path, listed = str(listed.table), listed.table, None
        stem = folder_name(path.stem)
    recipe_file, texts = out / f"{stem}.yaml", dict[Path, str]()
    if listed is None:
        table = read_own_table(source)
        plan = make_plan(source, table, wishes)
        recipe = _check(plan)
    else:
        # The table of a folder is checked before it is written, so that nothing is left behind by an error.
        texts[out / f"{stem}.csv"] = listed.text
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / f"{stem}.csv"
            written.write_text(listed.text, encoding="utf-8")
            try:
                table = read_own_table(str(written))
                plan = make_plan(str(out / f"{stem}.csv"), table, wishes.of_folder(source), listed.remarks, source)
                recipe = _check(plan, [f"data.dataset.path={written}"])
            except DataError as error:  # it names a table that will not be there
                raise DataError(error.problems, source=source) from None
        recipe = load_recipe(recipe, [f"data.dataset.path={out / f'{stem}.csv'}"])
    texts[recipe_file] = write_recipe(plan)
    experiment_file = out / f"{stem}_experiment.yaml" if len(plan.branches) > 1 else None
    if experiment_file is not None:
        texts[experiment_file] = write_experiment(recipe, recipe_file.name, len(table.rows))
    return Draft(plan, recipe, recipe_file, experiment_file, texts)


def _check(plan: Plan, overrides: Sequence[str] = ()) -> Recipe:
    """Checks that a recipe could be trained: its data are opened and divided, its network is built."""
    document = read_yaml(write_recipe(plan), "the drafted recipe")
    recipe = load_recipe(document.value, overrides)
    dataset = Datasets("foreseen")
    assembly = assemble(recipe, dataset)
    build(assembly.recipe, assembly.dataset)
    if plan.prepare is None:
        measure_lengths(assembly.samples(assembly.train_ids, training=True))  # some of them are read
    return recipe


def _holds(file: Path, text: str) -> bool:
    return file.is_file() and file.read_bytes() == text.encode()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(str(Problem(str(folder), f"cannot be made a folder ({error.strerror})"))) from None
