"""An experiment file with every recipe that follows from it, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fusionkit.config.components.registry import check_component
from fusionkit.config.documents import parse_valid_part, read_document
from fusionkit.config.recipe import check_document, load_recipe
from fusionkit.config.schema import Recipe
from fusionkit.config.shipped_recipes import find_beside, locate_recipe
from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.experiments.folds import find_wrong_folds
from fusionkit.experiments.specs.experiment import ExperimentSpec, find_misread
from fusionkit.experiments.specs.published import find_misnamed
from fusionkit.experiments.specs.targets import choose_targets, list_targets
from fusionkit.experiments.specs.usual_variants import make_usual_variants
from fusionkit.inference.branches import CONSTANT, ENSEMBLE, ENSEMBLE_LOG, ENSEMBLES, trained_branches


@dataclass(frozen=True)
class Column:
    """A column of the table: which runs it reads, and which branch of them.

    Args:
        name: The variant.
        runs: The variant whose runs are read.
        branch: The branch that is read.
        alone: The variant whose separately trained uni-modal networks it is judged against.
        automatic: Whether the experiment did not list it.
    """

    name: str
    runs: str
    branch: str
    alone: str
    automatic: bool = False


@dataclass(frozen=True)
class Experiment:
    """An experiment that is ready to run.

    Args:
        path: The file.
        spec: What it says.
        recipes: A checked recipe by variant that trains, without fold and seed.
        columns: The columns of the table, the ensemble among them.
        alone: The variant whose runs hold the separately trained uni-modal networks.
        targets: The targets that are compared, each by itself; a comparison has one.
        notes: What was added or should be known.
    """

    path: Path
    spec: ExperimentSpec
    recipes: Mapping[str, Recipe]
    columns: tuple[Column, ...]
    alone: str
    targets: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def target(self) -> str:
        """The target that is compared: the first of several."""
        return self.targets[0]

    def of_target(self, target: str) -> Experiment:
        """Returns the same of one target; published numbers are of the first."""
        if target == self.target:
            return self
        spec = self.spec.model_copy(update={"target": target, "paper": None, "metric": None})
        return replace(self, targets=(target,), spec=spec)

    @property
    def first_recipe(self) -> Recipe:
        """The recipe of the first variant that trains."""
        return next(iter(self.recipes.values()))


def load_experiment(
    path: str | Path, overrides: Sequence[str] = (), kind: type[ExperimentSpec] = ExperimentSpec
) -> Experiment:
    """Reads an experiment file and checks the recipe of every variant.

    Args:
        path: The YAML file, or the name of a shipped experiment.
        overrides: ``key.path=value``; a first key of the experiment format (such as ``seeds``) changes the
            experiment, any other the recipe of every variant, after the variant's own overrides.
        kind: What the file may say.

    Raises:
        RecipeError: Every problem of the file and of all its recipes.

    Example:
        An experiment with two trained variants and one that is read from the first::

            schema: 1
            recipe: basic.yaml
            variants:
              late fusion: {overrides: [train.strategy=late_fusion]}
              MRPN: {overrides: [model.fusion=mrpn]}
              audio: {of: late fusion, branch: audio}
    """
    path = locate_recipe(path)
    own = {field.alias or name for name, field in kind.model_fields.items()}
    of_experiment = [text for text in overrides if text.partition("=")[0].split(".")[0] in own]
    document, name = read_document(path, of_experiment)
    _refuse_other_documents(document.value, kind, name)
    of_recipe = [text for text in overrides if text not in of_experiment]
    try:
        spec, problems = check_document(kind, document, name), list[Problem]()
    except RecipeError as error:
        valid, found = parse_valid_part(kind, document, check_component)
        problems = list(dict.fromkeys([*error.problems, *found]))
        if valid is None:
            raise RecipeError(problems, source=name) from None
        spec = valid
    source = _recipe_path(spec.recipe, path, problems)
    listed = document.value.get("variants") or {}
    if not listed:
        try:
            listed = make_usual_variants(load_recipe(source, [*spec.overrides, *of_recipe]))
        except RecipeError as error:  # told once, not in every variant
            raise RecipeError([*problems, *error.within(spec.recipe)], source=name) from None
        spec = spec.model_copy(update={"variants": listed})
    recipes, wrong = _recipes(spec, source, of_recipe)
    problems += [*wrong, *find_misread(spec.variants, listed)]
    problems += find_misnamed(spec.paper, listed) if spec.paper else []
    overrides_of = {name: (*spec.overrides, *variant.overrides, *of_recipe) for name, variant in spec.variants.items()}
    targets = choose_targets(spec, list_targets(spec, source, overrides_of, recipes), problems)
    if problems:  # what is checked below as well, as far as it can be told beside them
        if recipes:
            read = [name for name, variant in spec.variants.items() if (variant.of or name) in recipes]
            problems += [*_find_wrong_branches(spec, recipes, read), *_contradictions(recipes)]
            problems += find_wrong_folds(spec.folds, next(iter(recipes.values())))
        raise RecipeError(problems, source=name)
    recipes, alone, notes = _with_networks_alone(spec, source, of_recipe, recipes)
    problems = [*_find_wrong_branches(spec, recipes, spec.variants), *_contradictions(recipes)]
    if problems:
        raise RecipeError(problems, source=name)
    columns = _columns(spec, recipes, alone)
    pooled = " and ".join(repr(column.name) for column in columns if column.automatic and column.branch in ENSEMBLES)
    if pooled and not notes:
        notes = (f"Added: {pooled}, of the uni-modal networks of {alone!r}.",)
    return Experiment(path, spec, recipes, columns, alone, targets, notes)


def _refuse_other_documents(given: Mapping[str, object], kind: type[ExperimentSpec], name: str) -> None:
    """Says what a document is, and which command runs it, where it is none of this kind."""
    compares, has_budget = kind is not ExperimentSpec, bool({"tuning", "budget"} & set(given))
    wanted = "a comparison" if compares else "an experiment"
    if "model" in given and "variants" not in given:
        raise RecipeError(f"is a recipe, not {wanted}; run it with `fusionkit train`", source=name)
    if has_budget and not compares:
        raise RecipeError("is a comparison, not an experiment; run it with `fusionkit compare`", source=name)
    if compares and {"variants", "recipe"} & set(given) and not has_budget:
        remedy = "run it with `fusionkit experiment`, or give it a budget, which every comparison has"
        raise RecipeError(f"is an experiment, not a comparison; {remedy}", source=name)


def _recipe_path(recipe: str, experiment: Path, problems: Sequence[Problem]) -> Path:
    """Finds the recipe beside the experiment, or the shipped one of that name; else nothing more can be checked."""
    try:
        return find_beside(recipe, experiment)
    except RecipeError as error:
        remedy = f"a path relative to the experiment file, or a shipped recipe; {error.problems[0].remedy}"
        absent = Problem("recipe", f"there is no {recipe!r}", remedy)
        raise RecipeError([*problems, absent], source=str(experiment)) from None


def _recipes(spec: ExperimentSpec, source: Path, overrides: Sequence[str]) -> tuple[dict[str, Recipe], list[Problem]]:
    recipes, problems = {}, []
    for name, variant in spec.variants.items():
        if variant.of is None:
            try:
                recipes[name] = load_recipe(source, [*spec.overrides, *variant.overrides, *overrides])
                trained_branches(recipes[name])
            except RecipeError as error:
                problems += error.within(f"variants.{name}")
    return recipes, problems


def _with_networks_alone(
    spec: ExperimentSpec, source: Path, overrides: Sequence[str], recipes: dict[str, Recipe]
) -> tuple[dict[str, Recipe], str, tuple[str, ...]]:
    """Adds a variant that trains the uni-modal networks alone where the experiment lists none."""
    listed = [name for name, recipe in recipes.items() if trained_branches(recipe).ensemble]
    if listed:
        read = [variant.of for variant in spec.variants.values() if variant.branch in ENSEMBLES]
        return recipes, next((name for name in listed if name in read), listed[0]), ()
    strategy = ["train.strategy=unimodal", "model.unimodal_heads=true"]
    added = load_recipe(source, [*spec.overrides, *overrides, *strategy])
    name = next(name for name in (ENSEMBLE, "unimodal", "networks alone") if name not in spec.variants)
    note = f"No variant trains the uni-modal networks alone, so {name!r} was added ({', '.join(strategy)})."
    return {**recipes, name: added}, name, (note,)


def _find_wrong_branches(spec: ExperimentSpec, recipes: Mapping[str, Recipe], variants: Iterable[str]) -> list[Problem]:
    """Lists the variants that name a branch that is not trained, or a variant that trains no networks alone."""
    problems = []
    able = [each for each, recipe in recipes.items() if trained_branches(recipe).ensemble]
    for name in variants:
        variant, source = spec.variants[name], spec.variants[name].of or name
        trained = trained_branches(recipes[source])
        branch, judge = variant.branch or trained.main, variant.alone
        if branch not in trained.names:
            place = f"variants.{name}.branch"
            problems.append(Problem(place, f"{source!r} trains no {branch!r}", suggest_names(branch, trained.names)))
        unsure = judge in spec.variants and judge not in recipes and spec.variants[judge].of is None
        if judge is not None and judge not in able and not unsure:  # one with mistakes of its own is told of those
            message = f"{judge!r} trains no uni-modal networks alone"
            problems.append(Problem(f"variants.{name}.alone", message, suggest_names(judge, able)))
    return problems


def _columns(spec: ExperimentSpec, recipes: Mapping[str, Recipe], alone: str) -> tuple[Column, ...]:
    columns = []
    for name, variant in spec.variants.items():
        source = variant.of or name
        branch = variant.branch or trained_branches(recipes[source]).main
        columns.append(Column(name, source, branch, variant.alone or alone))
    # Of one modality alone an ensemble is that modality.
    pooled = ENSEMBLES if len(recipes[alone].model.modalities) > 1 else ()
    for branch in (*pooled, CONSTANT):
        if not any(column.branch == branch for column in columns):
            taken = {column.name for column in columns}
            name = next(name for name in (branch, _OTHER_NAMES[branch]) if name not in taken)
            columns.append(Column(name, alone, branch, alone, automatic=True))
    return tuple(columns)


_OTHER_NAMES = {
    ENSEMBLE: "average of networks alone",
    ENSEMBLE_LOG: "product of networks alone",
    CONSTANT: "constant of the training part",
}
"""Names of added columns where a variant already has the usual name."""


def _contradictions(recipes: Mapping[str, Recipe]) -> list[Problem]:
    first = next(iter(recipes))
    return [
        Problem(f"variants.{name}", "other data.folds than the first variant", "a paired comparison needs the same")
        for name, recipe in recipes.items()
        if recipe.data.folds != recipes[first].data.folds
        or recipe.data.allow_group_overlap != recipes[first].data.allow_group_overlap
    ]
