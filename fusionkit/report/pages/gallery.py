"""The sections of a report that are figures, with what they are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import RunError
from fusionkit.evaluation.calibration.reliability import Reliability, pool_predictions
from fusionkit.inference.branches import CONSTANT
from fusionkit.interfaces import TargetKind
from fusionkit.report.figures.calibration import draw_calibration
from fusionkit.report.figures.clouds import gather_clouds
from fusionkit.report.figures.confusion import MOST_NUMBERS, draw_confusions, find_telling_columns, most_confused
from fusionkit.report.figures.curves import draw_term_curves
from fusionkit.report.figures.features import draw_features
from fusionkit.report.figures.folds import draw_fold_intervals, draw_folds
from fusionkit.report.figures.numbers import Pairs, draw_numbers
from fusionkit.report.pages.blocks import Block, Missing, Paragraph, Section, Table, picture, section
from fusionkit.report.text.tables import NOTHING, format_value
from fusionkit.storage.experiment_folder import ExperimentFolder, Said
from fusionkit.storage.records.results import ResultColumn

MOST_MATRICES = 9
FILES = tuple(
    f"{name}.png"
    for name in (
        *("folds", "fold_intervals", "confusion", "features", "features_adapted"),
        *("learning_curves", "calibration", "numbers"),
    )
)
"""The figures that there may be."""


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
        """Makes all sections, in the order of a report."""
        of_numbers = self._kind() == "numbers"
        return (
            self._values(),
            *(() if of_numbers else (self._confusions(),)),
            self._features(),
            self._learning(),
            self._calibration() if self._kind() == "classes" else self._numbers(),
        )

    def _values(self) -> Section:
        means = "; ".join(
            f"{name} {format_value(column.mean, self._results.main_metric)}"
            for name, column in self._results.summary.items()
        )
        return section(
            "Every fold",
            picture(
                self._folder / "folds.png",
                lambda: draw_folds(self._results),
                what="Values of every fold",
                alt=f"A row per variant with a dot per fold and the mean with its interval. Means: {means}.",
                caption="A dot is a fold (the mean over its seeds); below the dots the mean over folds with its 95 % "
                "interval. An open dot marks a fold where a single modality is better than the fused network.",
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
        drawn = self._results.confusion.matrices
        names = [column.name for column in self._results.columns if column.name in drawn][:MOST_MATRICES]
        what = "Confusion matrices"
        if not names:
            return section("Confusions", Missing(what, self._no_confusion()))
        classes = self._results.confusion.names
        if len(classes) > MOST_NUMBERS:
            names = find_telling_columns(self._results)  # each takes half a page
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

    def _no_confusion(self) -> str:
        if not self._results.rows:
            return "no run has finished"
        if self._kind() == "labels":
            return "a sample may have several labels, or none"
        return "the target's loss head draws none"

    def _most_confused(self, names: Sequence[str]) -> list[Block]:
        rows = []
        for name in names:
            pairs = most_confused(self._results, name, 3)
            cells = [f"{true} as {said} ({100 * share:.0f} %, {count})" for true, said, count, share in pairs]
            rows.append((name, *cells, *[NOTHING] * (3 - len(cells))))
        header = ("", "most often confused (% of the true class, samples)", "then", "then")
        return [Table(header, tuple(rows), words=True)]

    def _features(self) -> Section:
        what, drawn = "Features in the plane", list[Block]()
        try:
            found = gather_clouds(self._experiment)
        except RunError as error:
            return section("Features", Missing(what, str(error)))
        where = f"{found.fold}, seed {found.seed}"
        drawn.append(
            picture(
                self._folder / "features.png",
                lambda: draw_features(found.clouds, found.classes, what=self._results.target),
                what=what,
                alt=f"t-SNE of the features of {', '.join(cloud.title for cloud in found.clouds)}, {where}.",
                caption=f"t-SNE of the reported samples of {where}: the normalised features of every modality that was "
                "trained alone, and the fused vector of every fused network. 'Nearest alike' is the share of samples "
                "whose nearest neighbour, by all features, is of their class. Distances between far clusters, and "
                "their sizes, mean nothing in such a plane.",
            )
        )
        if found.adapted:
            columns = len(found.adapted) // found.modalities
            drawn.append(
                picture(
                    self._folder / "features_adapted.png",
                    lambda: draw_features(
                        found.adapted, found.classes, side_by_side=columns, what=self._results.target
                    ),
                    what="Features before and after the residual perceptrons",
                    alt=f"t-SNE of every modality's features alone, in the joint network, and adapted, {where}.",
                    caption="What joint training and the residual perceptrons make of each modality: its features "
                    "trained alone, in the joint network before the perceptron, and behind it.",
                )
            )
        return section("Features", *drawn)

    def _learning(self) -> Section:
        logs: dict[str, list[Any]] = {}
        unread: list[str] = []
        for variant, runs in self._experiment.runs_of_variants().items():
            for run in runs:
                try:
                    log = self._experiment.log(run)
                except RunError as error:
                    unread.append(str(error))
                else:
                    logs.setdefault(variant, []).append(log)
        if not logs and unread:
            return section("Learning curves", Missing("Learning curves", unread[0]))
        validated = any(record.get("validation") is not None for of in logs.values() for log in of for record in log)
        with_rule = f"There are no validation losses: with the rule '{self._results.selection}' no sample is set aside."
        shown = picture(
            self._folder / "learning_curves.png",
            lambda: draw_term_curves(logs),
            what="Learning curves",
            alt=f"Loss terms over epochs of {', '.join(logs)}.",
            caption="The training loss of every term by epoch, the mean over all folds and seeds in a band from the "
            "least to the greatest run. " + ("Dashed: losses on validation samples." if validated else with_rule),
        )
        return section("Learning curves", shown, *_unread(unread))

    def _calibration(self) -> Section:
        found: dict[str, Reliability] = {}
        rows = []
        for column in self._networks():
            name, branch = column.name, column.branch
            parts = [(said.distributions[branch], said.targets) for said in self._of_column(name, branch)]
            try:
                found[name] = pool_predictions(parts)
                own_mean = f"{100 * fmean(pool_predictions([part]).ece for part in parts):.1f}"
            except RunError:
                continue  # the table and the figure lack it, which says enough
            rows.append((name, f"{100 * found[name].ece:.1f}", own_mean, f"{100 * found[name].surplus:+z.1f}"))
        shown = picture(
            self._folder / "calibration.png",
            lambda: draw_calibration(found, {c.name: c.branch for c in self._networks()}),
            what="Calibration",
            alt="Reliability diagrams: "
            + "; ".join(f"{name} ECE {100 * each.ece:.1f} %" for name, each in found.items()),
            caption="How often a network is right when it says how sure it is, over the reported samples of all folds "
            "and seeds, in 15 bins of confidence; on the dashed line both agree. Grey, and the size of a dot: how many "
            "samples are stated with that confidence. ECE is their mean distance from the line.",
        )
        if not rows:
            why = self._unread[0] if self._unread else "no variant has predictions"
            return section("Calibration", Missing("Calibration", why))
        header = ("", "ECE, all samples, %", "mean of the runs' own ECE, %", "confidence minus accuracy, points")
        return section("Calibration", shown, Table(header, tuple(rows)), *_unread(self._unread))

    def _numbers(self) -> Section:
        if self._kind() != "numbers":
            why = "reliability diagrams are of a target with one class of several"
            return section("Calibration", Missing("Calibration", why))
        pairs: dict[str, Pairs] = {}
        for column in self._networks():
            parts = [
                (_columns(said.targets), _columns(said.distributions[column.branch]))
                for said in self._of_column(column.name, column.branch)
            ]
            if parts:
                pairs[column.name] = (
                    np.concatenate([wanted for wanted, _ in parts]),
                    np.concatenate([said[:, : wanted.shape[1]] for wanted, said in parts]),  # numbers come first
                )
        shown = picture(
            self._folder / "numbers.png",
            lambda: draw_numbers(pairs, self._results.target),
            what="Predicted against true numbers",
            alt=f"Predicted against true {self._results.target} of {', '.join(pairs)}.",
            caption="Every reported sample of all folds and seeds; on the dashed line a prediction is right.",
        )
        return section("Predicted and true numbers", shown, *_unread(self._unread))

    def _networks(self) -> list[ResultColumn]:
        """Returns the columns that are networks."""
        return [column for column in self._results.columns if column.branch != CONSTANT]

    def _kind(self) -> TargetKind:
        try:
            return self._experiment.compared_target().kind
        except RunError:
            return "classes" if self._results.confusion.matrices else "labels"

    def _of_column(self, name: str, branch: str) -> list[Said]:
        """Returns the answers of a column's runs, of those that can be read."""
        said = []
        for row in self._experiment.rows(name):
            run = row.run
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


def _columns(values: NDArray[Any]) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    return wide[:, None] if wide.ndim == 1 else wide


def _unread(reasons: Sequence[str]) -> list[Block]:
    """Says what a figure leaves out."""
    if not reasons:
        return []
    runs = "1 run is" if len(reasons) == 1 else f"{len(reasons)} runs are"
    return [Paragraph(f"{runs} left out: {reasons[0]}{', ...' if len(reasons) > 1 else ''}.")]
