"""A comparison under equal conditions: which differences are larger than noise, ranks, and cost beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionkit.evaluation.branches import CONSTANT
from fusionkit.report.figures.folds import KINDS, kind_of
from fusionkit.report.figures.style import COLOURS, FAINT, INK, canvas, fitting
from fusionkit.report.pages.blocks import Paragraph as Words
from fusionkit.report.pages.blocks import Section, Table, picture, section
from fusionkit.report.text.tables import NOTHING, format_p, format_value, p_in_words
from fusionkit.report.text.units import in_bytes, in_thousands, in_time
from fusionkit.storage.measures import measure_of
from fusionkit.storage.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVEL = 0.05
MOST_LABELS = 12
HEADER = ("", "mean", "difference", "from", "to", "p", "p Holm", "rank")
COST_HEADER = ("", "parameters", "memory", "an epoch", "a run")
FILES = ("comparison.png", "cost.png")


def comparison_section(results: Results, figures: Path) -> Section | None:
    """Verdict, ranking and costs; None of an experiment that is no comparison."""
    if "comparison" not in results:
        return None
    return section(
        "Comparison",
        *(Words(sentence) for sentence in conditions(results)),
        Words(f"{heading(results)}."),
        Table(HEADER, ranking_rows(results)),
        Words(last_line(results)),
        picture(
            figures / FILES[0],
            lambda: draw_comparison(results),
            what="Differences and ranks",
            alt="A row per column with its difference from the first column and its mean rank; the table has the "
            "numbers.",
            caption=_intervals_and_ranks(results),
        ),
        picture(
            figures / FILES[1],
            lambda: draw_cost(results),
            what="Cost",
            alt="The mean of every column over the time of a training epoch; the tables have the numbers.",
            caption="What a column reaches, and what an epoch of every stage, teachers' too, costs on one thread; of "
            "many columns those have names that none is both cheaper and better than.",
        ),
        Table(COST_HEADER, cost_rows(results)),
        folded={"Every pair, corrected for their number": (Table(PAIRS_HEADER, _pair_rows(results)),)}
        | ({"What was tuned": (Table(CHOICES_HEADER, _choice_rows(results), words=True),)} if _tuned(results) else {}),
    )


PAIRS_HEADER = ("", "against", "difference", "p", "p Holm")
CHOICES_HEADER = ("", "fold", "trial", "setting", "values of the trials")


def conditions(results: Results) -> tuple[str, ...]:
    """What was equal for all variants, in a sentence or two."""
    comparison = results["comparison"]
    budget = comparison["budget"]
    if "epochs" in budget:
        said = f"Every run had {budget['epochs']} epochs, a training of several stages as many in each of them."
    else:
        epochs = ", ".join(f"{name} {count}" for name, count in comparison["epochs"].items())
        said = f"Every run had {in_time(budget['minutes'] / 60)} by timed steps, in epochs of every stage: {epochs}."
    tuning = comparison["tuning"]
    if tuning is None:
        return (said, "Nothing was tuned: every variant is as its recipe stands.")
    searched = ", ".join([*tuning["search"], *(f"{key} ({name})" for name, of in tuning["also"].items() for key in of)])
    return (
        said,
        f"In every fold every variant had {tuning['trials']} trials inside the training part ({searched}); the first "
        "is the recipe as it stands, the others a seeded random search. The test part chose nothing.",
        *_tuned_for_another(results),
    )


def _tuned_for_another(results: Results) -> list[str]:
    """Columns that read a branch of runs whose settings were chosen by another branch."""
    judged = {choice["variant"]: choice["branch"] for choice in results["comparison"]["choices"]}
    return [
        f"{each['name']} reads the {each['branch']} branch of {each['runs']}, whose settings the "
        f"{judged[each['runs']]} branch chose: it was not tuned for itself."
        for each in results["columns"]
        if each["branch"] != CONSTANT and judged.get(each["runs"], each["branch"]) != each["branch"]
    ]


def ranking_rows(results: Results) -> tuple[tuple[str, ...], ...]:
    """A row per column, best first: its mean, and the difference from the first column with interval and tests."""
    metric, ranks = measure_of(results), results["comparison"]["ranks"]["mean"]
    against = {pair["column"]: pair for pair in results["comparison"]["against_first"]}
    rows = []
    for name in in_order(results):
        pair = against.get(name, {})
        figures = (format_value(pair.get(key), metric, signed=True) for key in ("difference", "low", "high"))
        tests = (format_p(pair.get(key)) for key in ("p", "holm_p"))
        mean = format_value(results["summary"][name]["mean"], metric)
        rows.append((name, mean, *figures, *tests, f"{ranks[name]:.1f}" if name in ranks else NOTHING))
    return tuple(rows)


def cost_rows(results: Results) -> tuple[tuple[str, ...], ...]:
    """A row per column, best first: what the variant behind it costs."""
    costs, runs = results["comparison"]["cost"], {each["name"]: each["runs"] for each in results["columns"]}
    rows = []
    for name in in_order(results):
        cost = costs.get(runs[name])
        if cost is not None:
            times = (in_time(cost["epoch_seconds"] / 3600), in_time(cost["run_seconds"] / 3600))
            rows.append((name, in_thousands(cost["parameters"]), in_bytes(cost["memory"]), *times))
    return tuple(rows)


def in_order(results: Results) -> list[str]:
    """The columns that have a mean, best first."""
    sign = -measure_of(results).sign
    known = {name: column["mean"] for name, column in results["summary"].items() if column["mean"] is not None}
    return sorted(known, key=lambda name: sign * known[name])


def last_line(results: Results) -> str:
    """Which differences are larger than noise, once all that were looked at are allowed for."""
    comparison, first = results["comparison"], results["columns"][0]["name"]
    pairs = comparison["against_first"]
    if len(results["columns"]) == 1:
        return f"{first} is the only column, so nothing is compared."
    if not pairs:
        return f"No other column has a fold in common with {first}, so nothing can be said."
    if len(results["folds"]) == 1:
        return "One fold cannot tell a difference from noise."
    tested = [pair for pair in pairs if pair["p"] is not None]
    untold = ", ".join(pair["column"] for pair in pairs if pair["p"] is None)
    cannot = f"Whether noise explains the difference of {untold} cannot be told: it has no spread over folds."
    if not tested:
        return cannot
    return " ".join(
        (
            _against_first(results, tested, first),
            *((cannot,) if untold else ()),
            *((_between_all(comparison),) if comparison["pairs_compared"] > 1 else ()),
        )
    )


def _against_first(results: Results, tested: Sequence[Mapping[str, Any]], first: str) -> str:
    sure = [pair for pair in tested if pair["holm_p"] < LEVEL]
    tests = f"{len(tested)} comparisons" if len(tested) > 1 else "the one comparison"
    if not sure:
        return f"No difference from {first} is larger than noise, {tests} with it allowed for."
    told = ", ".join(f"{pair['column']} ({_way(pair['difference'], results)})" for pair in sure)
    rest = len(tested) - len(sure)
    others = f"; the {'other is' if rest == 1 else f'{rest} others are'} within it" if rest else ""
    return f"Larger than noise against {first}, {tests} allowed for: {told}{others}."


def _way(difference: float, results: Results) -> str:
    """A difference, and where less is better whether it is for the better."""
    text = format_value(difference, measure_of(results), signed=True)
    if results["higher_is_better"]:
        return text
    return f"{text}, {'better' if difference < 0 else 'worse'}"


def _between_all(comparison: Mapping[str, Any]) -> str:
    between = sum(pair["holm_p"] is not None and pair["holm_p"] < LEVEL for pair in comparison["pairs"])
    verb = "differs" if between == 1 else "differ" if between else "is shown to differ"
    return f"Of all {comparison['pairs_compared']} pairs of columns {between or 'none'} {verb} by more than noise."


def heading(results: Results) -> str:
    """What the figures of the ranking are: metric, unit, which way is better, and what differences are from."""
    unit = ", %" if measure_of(results).share else ""
    better = "higher" if results["higher_is_better"] else "lower"
    first = results["columns"][0]["name"]
    return f"{results['metric']} of {results['target']}{unit}; {better} is better, differences are from {first}"


def draw_comparison(results: Results) -> Figure:
    """Differences from the first column with intervals that hold together, and mean ranks, best on top."""
    names = in_order(results)
    figure, (left, right) = canvas(9.4, 1.3 + 0.26 * len(names), 2)
    labels = fitting(names, 28)
    colour_of = {each["name"]: COLOURS[KINDS.index(kind_of(each["branch"]))] for each in results["columns"]}
    _draw_differences(left, results, names, colour_of)
    ranks = results["comparison"]["ranks"]
    for row, name in enumerate(names):
        if name in ranks["mean"]:
            right.scatter([ranks["mean"][name]], [row], s=30, color=colour_of[name], zorder=3)
    if ranks["mean"] and ranks["critical_difference"] is not None:
        best = min(ranks["mean"].values())
        right.axvspan(best, best + ranks["critical_difference"], color=FAINT, alpha=0.6, zorder=1)
    right.set_xlabel("mean rank over folds, 1 is best", fontsize=9)
    for axes in (left, right):
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
    left.set_yticks(range(len(names)), labels)
    right.set_yticks(range(len(names)), [""] * len(names))
    return figure


def draw_cost(results: Results) -> Figure:
    """The mean of every column over the seconds of an epoch."""
    costs, runs = results["comparison"]["cost"], {each["name"]: each["runs"] for each in results["columns"]}
    names = [name for name in in_order(results) if runs[name] in costs]
    figure, (axes,) = canvas(9.4, 5.2)
    scale = 100 if measure_of(results).share else 1
    places = {name: (costs[runs[name]]["epoch_seconds"], scale * results["summary"][name]["mean"]) for name in names}
    for each in results["columns"]:
        if each["name"] in places:
            colour = COLOURS[KINDS.index(kind_of(each["branch"]))]
            axes.scatter(*places[each["name"]], s=28, color=colour, zorder=3)
    shown = names
    if len(names) > MOST_LABELS:  # they would hide each other: those that nothing is both cheaper and better than
        shown = [name for name in names if not any(_beats(places[other], places[name], results) for other in names)]
    for name, label in zip(shown, fitting(shown, 28), strict=True):
        axes.annotate(label, places[name], xytext=(5, 4), textcoords="offset points", fontsize=8, color=INK)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_xlabel("seconds of an epoch", fontsize=9)
    axes.set_ylabel(f"{results['metric']} of {results['target']}" + (" (%)" if scale == 100 else ""), fontsize=9)
    return figure


def _beats(one: tuple[float, float], other: tuple[float, float], results: Results) -> bool:
    sign = measure_of(results).sign
    no_worse = one[0] <= other[0] and sign * one[1] >= sign * other[1]
    return no_worse and one != other


def _draw_differences(axes: Axes, results: Results, names: Sequence[str], colour_of: Mapping[str, str]) -> None:
    scale = 100 if measure_of(results).share else 1
    pairs = {pair["column"]: pair for pair in results["comparison"]["against_first"]}
    axes.axvline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for row, name in enumerate(names):
        pair = pairs.get(name)
        if pair is None:
            continue
        sure = pair["holm_p"] is not None and pair["holm_p"] < LEVEL
        if pair["low"] is not None:
            axes.hlines(row, scale * pair["low"], scale * pair["high"], color=colour_of[name], linewidth=1.3, zorder=2)
        face = colour_of[name] if sure else "white"
        axes.scatter([scale * pair["difference"]], [row], s=30, facecolors=face, edgecolors=colour_of[name], zorder=3)
    first = results["columns"][0]["name"]
    better = "" if results["higher_is_better"] else ", lower is better"
    unit = " (points)" if scale == 100 else ""
    axes.set_xlabel(f"{results['metric']} minus that of {fitting([first], 24)[0]}{unit}{better}", fontsize=9)


def _intervals_and_ranks(results: Results) -> str:
    ranks = results["comparison"]["ranks"]
    said = (
        "Left: the difference from the first column, with intervals that hold with 95 % for all of them together and "
        "allow for training parts that overlap; a filled dot differs by more than noise (p by Holm below 0.05). Right: "
        "mean ranks"
    )
    if ranks["critical_difference"] is None:
        return f"{said}."
    return (
        f"{said}; within the grey band, {ranks['critical_difference']:.1f} wide (Nemenyi), a rank does not differ from "
        f"the best by more than noise. Whether the columns differ at all: {p_in_words(ranks['friedman_p'])} "
        f"(Friedman, ranks permuted within {ranks['folds']} folds)."
    )


def _pair_rows(results: Results) -> tuple[tuple[str, ...], ...]:
    pairs = sorted(results["comparison"]["pairs"], key=lambda pair: (pair["p"] is None, pair["p"]))
    return tuple(
        (
            pair["column"],
            pair["other"],
            format_value(pair["difference"], measure_of(results), signed=True),
            format_p(pair["p"]),
            format_p(pair["holm_p"]),
        )
        for pair in pairs
    )


def _choice_rows(results: Results) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            choice["variant"],
            choice["fold"],
            str(choice["trial"]),
            ", ".join(choice["overrides"]) or "the recipe as it stands",
            ", ".join(format_value(value, measure_of(results)) for value in choice["values"]),
        )
        for choice in results["comparison"]["choices"]
    )


def _tuned(results: Results) -> bool:
    return bool(results["comparison"]["choices"])
