"""The sections of a report that are figures, with what they are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import RunError
from fusionkit.evaluation.branches import FUSED
from fusionkit.report.calibration import Calibration, draw_calibration, pooled
from fusionkit.report.confusion import MOST_NUMBERS, draw_confusions, most_confused
from fusionkit.report.curves import draw_term_curves
from fusionkit.report.document import Block, Missing, Section, Table, picture, section
from fusionkit.report.features import Cloud, class_indices, draw_features
from fusionkit.report.figures import draw_fold_intervals, draw_folds
from fusionkit.report.folder import ExperimentFolder, Said
from fusionkit.report.numbers import Pairs, draw_numbers
from fusionkit.report.tables import NOTHING, format_value

MOST_MATRICES = 9

Kind = Literal["classes", "labels", "numbers"]


class Gallery:
    """Draws the figures of an experiment into a folder, section by section.

    Args:
        experiment: What the figures are of.
        folder: Where their files go.
    """

    def __init__(self, experiment: ExperimentFolder, folder: Path) -> None:
        self._experiment, self._results, self._folder = experiment, experiment.results, folder
        self._said: dict[str, Said | None] = {}
        self._unread: list[str] = []

    def sections(self) -> tuple[Section, ...]:
        """All sections, in the order of a report."""
        return (
            self._values(),
            self._confusions(),
            self._features(),
            self._learning(),
            self._calibration() if self._kind() == "classes" else self._numbers(),
        )

    def _values(self) -> Section:
        means = "; ".join(
            f"{name} {format_value(column['mean'], self._results['metric'])}"
            for name, column in self._results["summary"].items()
        )
        return section(
            "Every fold",
            picture(
                self._folder / "folds.png",
                lambda: draw_folds(self._results),
                what="Values of every fold",
                alt=f"A row per variant with a dot per fold and the mean with its interval. Means: {means}.",
                caption="A dot is a fold (the mean over its seeds); below the dots the mean over folds with its 95 % "
                "interval. An open dot is an inferior case: there one modality alone beats the fused network.",
            ),
            picture(
                self._folder / "fold_intervals.png",
                lambda: draw_fold_intervals(self._results),
                what="Intervals of every fold",
                alt="A panel per variant with the value of every fold and its own interval.",
                caption="Every fold with its own 95 % interval: a bootstrap over groups of test samples, limits "
                "averaged over seeds. Folds with two groups, such as actor pairs, have coarse and too narrow ones. The "
                "dashed line is the mean over folds.",
            ),
        )

    def _confusions(self) -> Section:
        drawn = self._results["confusion"]["matrices"]
        names = [column["name"] for column in self._results["columns"] if column["name"] in drawn][:MOST_MATRICES]
        what = "Confusion matrices"
        if not names:
            return section("Confusions", Missing(what, _no_confusion(self._kind())))
        classes = self._results["confusion"]["classes"]
        shown = picture(
            self._folder / "confusion.png",
            lambda: draw_confusions(self._results, names),
            what=what,
            alt=f"Confusion matrices of {', '.join(names)} over {len(classes)} classes; the table lists the most "
            "frequent confusions.",
            caption="Averaged over all folds and seeds: of the samples of a true class (row), how many per cent were "
            "taken for each class (column)."
            + ("" if len(classes) <= MOST_NUMBERS else " There are too many classes for numbers in the cells."),
        )
        return section("Confusions", shown, *self._most_confused(names))

    def _most_confused(self, names: Sequence[str]) -> list[Block]:
        rows = []
        for name in names:
            pairs = most_confused(self._results, name, 3)
            cells = [f"{true} as {said} ({100 * share:.0f} %, {count})" for true, said, count, share in pairs]
            rows.append((name, *cells, *[NOTHING] * (3 - len(cells))))
        header = ("", "most often confused (% of the true class, samples)", "then", "then")
        return [Table(header, tuple(rows), words=True)]

    def _features(self) -> Section:
        what, blocks = "Features in the plane", list[Block]()
        try:
            kind = self._experiment.target_kind()
            fold, seed, found = self._fold_with_features()
        except RunError as error:
            return section("Features", Missing(what, str(error)))
        clouds, adapted, names = _clouds(found, kind.classes)
        where = f"{fold}, seed {seed}"
        blocks.append(
            picture(
                self._folder / "features.png",
                lambda: draw_features(clouds, names, what=self._results["target"]),
                what=what,
                alt=f"t-SNE of the features of {', '.join(cloud.title for cloud in clouds)}, {where}.",
                caption=f"t-SNE of the reported samples of {where}: the normalised features of every modality that was "
                "trained alone, and the fused vector of every fused network. 'Nearest alike' is the share of samples "
                "whose nearest neighbour, by all features, is of their class. Distances between far clusters, and "
                "their sizes, mean nothing in such a plane.",
            )
        )
        if adapted:
            side_by_side = 3 if len(adapted) % 3 == 0 else 2
            blocks.append(
                picture(
                    self._folder / "features_adapted.png",
                    lambda: draw_features(adapted, names, side_by_side=side_by_side, what=self._results["target"]),
                    what="Features before and after the residual perceptrons",
                    alt=f"t-SNE of every modality's features alone, in the joint network, and adapted, {where}.",
                    caption="What joint training and the residual perceptrons make of each modality: its features "
                    "trained alone, in the joint network before the perceptron, and behind it.",
                )
            )
        return section("Features", *blocks)

    def _fold_with_features(self) -> tuple[str, int, list[tuple[str, str, Said]]]:
        """The first fold and seed of which every wanted run holds features: titles, branches and what was said."""
        reasons: list[str] = []
        wanted = _feature_sources(self._results)
        for fold in self._results["folds"]:
            for seed in self._results["seeds"]:
                found = []
                for title, branch, runs in wanted:
                    run = runs.get((fold["name"], seed))
                    if run is None:
                        break
                    try:
                        said = self._experiment.said(run)
                    except RunError as error:
                        reasons.append(str(error))
                        break
                    if f"feature/{branch}" not in said.features:
                        reasons.append("the runs were evaluated by an earlier version, which kept no features")
                        break
                    found.append((title, branch, said))
                if found and len(found) == len(wanted):
                    return fold["name"], seed, found
        raise RunError(reasons[0] if reasons else "no fold has a run of every network")

    def _learning(self) -> Section:
        logs: dict[str, list[Any]] = {}
        unread = []
        for variant, runs in self._experiment.runs_of_variants().items():
            for run in runs:
                try:
                    logs.setdefault(variant, []).append(self._experiment.log(run))
                except RunError as error:
                    unread.append(str(error))
        validated = any(record.get("validation") is not None for of in logs.values() for log in of for record in log)
        caption = (
            "The training loss of every term by epoch, the mean over all folds and seeds in a band from the least to "
            "the greatest run. "
        ) + (
            "Dashed: losses on the validation samples."
            if validated
            else f"There are no validation losses: with the rule '{self._results['selection']}' no sample is set aside."
        )
        shown = picture(
            self._folder / "learning_curves.png",
            lambda: draw_term_curves(logs),
            what="Learning curves" if not unread else f"Learning curves ({unread[0]})",
            alt=f"Loss terms over epochs of {', '.join(logs)}.",
            caption=caption,
        )
        return section("Learning curves", shown)

    def _calibration(self) -> Section:
        found: dict[str, Calibration] = {}
        rows = []
        for column in self._results["columns"]:
            name, branch = column["name"], column["branch"]
            parts = [(said.distributions[branch], said.targets) for said in self._of_column(name, branch)]
            own = [row["metrics"].get("ece") for row in self._experiment.rows(name)]
            known = [value for value in own if value is not None]
            if not parts or not known:
                continue
            found[name] = pooled(parts)
            cells = (100 * found[name].ece, 100 * fmean(known), 100 * found[name].surplus)
            rows.append((name, f"{cells[0]:.1f}", f"{cells[1]:.1f}", f"{cells[2]:+.1f}"))
        shown = picture(
            self._folder / "calibration.png",
            lambda: draw_calibration(found, {c["name"]: c["branch"] for c in self._results["columns"]}),
            what="Calibration" + (f" ({self._unread[0]})" if self._unread else ""),
            alt="Reliability diagrams: "
            + "; ".join(f"{name} ECE {100 * each.ece:.1f} %" for name, each in found.items()),
            caption="How often a network is right when it says how sure it is, over the reported samples of all folds "
            "and seeds, in 15 bins of confidence; on the dashed line both agree. Grey, and the size of a dot: how many "
            "samples are stated with that confidence. ECE is their mean distance from the line.",
        )
        if not rows:
            return section("Calibration", shown)
        header = ("", "ECE, all samples, %", "mean of the runs' own ECE, %", "confidence minus accuracy, points")
        return section("Calibration", shown, Table(header, tuple(rows)))

    def _numbers(self) -> Section:
        if self._kind() != "numbers":
            why = "reliability diagrams are of a target whose loss head states a calibration error"
            return section("Calibration", Missing("Calibration", why))
        pairs: dict[str, Pairs] = {}
        for column in self._results["columns"]:
            parts = [
                (_columns(said.targets), _columns(said.distributions[column["branch"]]))
                for said in self._of_column(column["name"], column["branch"])
            ]
            if parts:
                pairs[column["name"]] = (
                    np.concatenate([wanted for wanted, _ in parts]),
                    np.concatenate([said for _, said in parts]),
                )
        shown = picture(
            self._folder / "numbers.png",
            lambda: draw_numbers(pairs, self._results["target"]),
            what="Predicted against true numbers" + (f" ({self._unread[0]})" if self._unread else ""),
            alt=f"Predicted against true {self._results['target']} of {', '.join(pairs)}.",
            caption="Every reported sample of all folds and seeds; on the dashed line a prediction is right.",
        )
        return section("Predicted and true numbers", shown)

    def _kind(self) -> Kind:
        try:
            kind = self._experiment.target_kind()
        except RunError:
            return "classes" if self._results["confusion"]["matrices"] else "labels"
        if kind.has_calibration:
            return "classes"
        return "labels" if kind.classes else "numbers"

    def _of_column(self, name: str, branch: str) -> list[Said]:
        """What the runs of a column said, of those that can be read."""
        said = []
        for row in self._experiment.rows(name):
            run = row["run"]
            if run not in self._said:
                try:
                    read = self._experiment.said(run)
                    self._said[run] = Said(read.targets, read.distributions, {}, read.feature_rows)
                except RunError as error:
                    self._said[run] = None
                    self._unread.append(str(error))
            found = self._said[run]
            if found is not None and branch in found.distributions:
                said.append(found)
        return said


def _feature_sources(results: Mapping[str, Any]) -> list[tuple[str, str, Mapping[tuple[str, int], str]]]:
    """Modalities that were trained alone, then fused networks: title, branch, and run by fold and seed."""
    alone: dict[str, dict[tuple[str, int], str]] = {}
    fused: dict[str, dict[tuple[str, int], str]] = {
        column["name"]: {} for column in results["columns"] if column["branch"] == FUSED
    }
    judge = next((column.get("alone") for column in results["columns"] if column.get("alone")), None)
    sources = {column["name"]: column["runs"] for column in results["columns"]}
    for row in results["rows"]:
        place = (row["fold"], row["seed"])
        if row["trained"] == "alone" and (row["variant"] is None or judge in (None, sources[row["variant"]])):
            alone.setdefault(row["branch"], {}).setdefault(place, row["run"])
        elif row["variant"] in fused:
            fused[row["variant"]][place] = row["run"]
    listed: list[tuple[str, str, Mapping[tuple[str, int], str]]]
    listed = [(f"{name}, alone", name, runs) for name, runs in alone.items()]
    return listed + [(f"{name}, fused", FUSED, runs) for name, runs in fused.items()]


def _clouds(
    found: Sequence[tuple[str, str, Said]], classes: Sequence[str]
) -> tuple[list[Cloud], list[Cloud], tuple[str, ...]]:
    """The clouds of the first figure, those of the second, and the names of their classes."""
    clouds, adapted = [], list[Cloud]()
    targets, names = class_indices(found[0][2].targets, classes)
    alone = {branch: said for _, branch, said in found if branch != FUSED}

    def cloud(title: str, said: Said, feature: str) -> Cloud:
        return Cloud(title, said.features[feature], targets[said.feature_rows])

    for title, branch, said in found:
        clouds.append(cloud(title, said, f"feature/{branch}"))
    bent = [(title, said) for title, _, said in found if any(name.startswith("adapted/") for name in said.features)]
    if bent:
        title, said = bent[-1]
        for name in (name.removeprefix("adapted/") for name in said.features if name.startswith("adapted/")):
            network = title.removesuffix(", fused")
            adapted += [cloud(f"{name}, alone", alone[name], f"feature/{name}")] if name in alone else []
            adapted.append(cloud(f"{name} in {network}", said, f"feature/{name}"))
            adapted.append(cloud(f"{name} in {network}, adapted", said, f"adapted/{name}"))
    return clouds, adapted, names


def _columns(values: NDArray[Any]) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    return wide[:, None] if wide.ndim == 1 else wide


def _no_confusion(kind: Kind) -> str:
    return {
        "classes": "no run has finished",
        "labels": "a sample may have several labels, or none",
        "numbers": "the target is a number and has no classes",
    }[kind]
