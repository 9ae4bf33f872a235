"""Feature vectors in the plane, as the paper's Fig. 4: which classes each network tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import RunError
from fusionkit.report.figures.style import INK, WIDEST, canvas, fit_labels, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEED = 0
FEWEST, MOST = 5, 1000
"""Samples that a plane is made of; of more, so many are drawn."""

MOST_CLASSES, MOST_PANELS = 20, 12
OTHER = "#A0A0A0"


@dataclass(frozen=True)
class Cloud:
    """The feature vectors of one panel.

    Args:
        title: What they are.
        features: ``(samples, features)``; rows with a NaN are left out.
        targets: Class indices, negative where not known; or one number per sample.
    """

    title: str
    features: NDArray[np.float64]
    targets: NDArray[np.float64] | NDArray[np.int64]


def project_to_plane(
    features: NDArray[np.float64], *, perplexity: float = 30.0, seed: int = SEED
) -> NDArray[np.float64]:
    """Computes t-SNE on one thread, so that the same features always give the same points.

    Args:
        features: ``(samples, features)``, finite.
        perplexity: About how many neighbours count; at most a third of the other samples.
        seed: The seed.

    Raises:
        RunError: There are fewer than five samples, or all of them are alike.

    Source:
        Van der Maaten and Hinton 2008, Journal of Machine Learning Research 9, 2579-2605; scikit-learn's
        implementation, begun from the two principal components.
    """
    if len(features) < FEWEST:
        raise RunError(f"{len(features)} samples are too few for a plane; it takes {FEWEST}")
    if not np.ptp(features, axis=0).max() > 0:
        raise RunError("all samples have the same features")
    centred = (features - features.mean(axis=0)) / np.ptp(features, axis=0).max()
    return _embedded(centred, min(perplexity, (len(features) - 1) / 3), seed)


def _embedded(features: NDArray[np.float64], perplexity: float, seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    begin = "pca" if min(features.shape) >= 2 else "random"
    plane = TSNE(2, perplexity=perplexity, init=begin, random_state=seed)
    with threadpool_limits(1):
        points: NDArray[np.float64] = plane.fit_transform(features)
    return points


def measure_agreement(features: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """Returns the share of samples whose nearest other sample, by all features, is of their class.

    Example:
        >>> measure_agreement(np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([0, 0, 1, 0]))
        0.5
    """
    squares = (features**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * features @ features.T
    np.fill_diagonal(distances, np.inf)
    return float((targets[distances.argmin(axis=1)] == targets).mean())


def select_usable(cloud: Cloud, most: int = MOST) -> Cloud:
    """Returns the samples of a cloud that have target and modality; so many of them, drawn by a seed."""
    known = np.isfinite(cloud.features).all(axis=1) & ~np.isnan(cloud.targets.astype(np.float64))
    if np.issubdtype(cloud.targets.dtype, np.integer):
        known &= cloud.targets >= 0
    rows = np.flatnonzero(known)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(SEED).choice(rows, most, replace=False))
    return Cloud(cloud.title, cloud.features[rows], cloud.targets[rows])


def draw_features(
    clouds: Sequence[Cloud], classes: Sequence[str], *, side_by_side: int = 4, what: str = "target"
) -> Figure:
    """Draws a panel per cloud: its samples in the plane, a colour and a marker per class, or shades of a number.

    Above it, of classes, the share of samples whose nearest neighbour is of their class.

    Args:
        clouds: What is drawn.
        classes: Names of the classes; empty for numbers.
        side_by_side: Panels in a row.
        what: What a number is.

    Raises:
        RunError: No cloud can be drawn; says why.
    """
    drawn: list[tuple[Cloud, NDArray[np.float64]]] = []
    reasons = ["no run holds features"]
    for cloud in map(select_usable, clouds[:MOST_PANELS]):
        try:
            drawn.append((cloud, project_to_plane(cloud.features)))
        except RunError as error:
            reasons.append(str(error))
    if not drawn:
        raise RunError(reasons[-1])
    side_by_side = min(side_by_side, len(drawn))
    rows = -(-len(drawn) // side_by_side)
    side = min(2.7, (WIDEST - 0.2) / side_by_side)
    width = max(5.0, side * side_by_side + 0.2)
    figure, panels = canvas(width, rows * (side + 0.15) + 0.9, len(drawn), side_by_side)
    titles = fit_labels([cloud.title for cloud, _ in drawn], 30)
    shown = _most_frequent([cloud for cloud, _ in drawn], len(classes))
    for axes, title, (cloud, points) in zip(panels, titles, drawn, strict=True):
        if classes:
            _draw_classes(axes, points, cloud.targets.astype(np.int64), shown)
            agree = measure_agreement(cloud.features, cloud.targets.astype(np.int64))
            axes.set_title(f"{title}\nnearest alike {100 * agree:.0f} %", fontsize=9.5)
        else:
            _draw_numbers(axes, points, cloud.targets)
            axes.set_title(title, fontsize=9.5)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(True)
        axes.spines[:].set_color("#BBBBBB")
        axes.margins(0.08)
        axes.set_box_aspect(1)
    if classes:
        _add_legend(figure, classes, shown, width)
    else:
        bar = figure.colorbar(panels[-1].collections[0], ax=panels, location="bottom", shrink=0.5, aspect=40, pad=0.03)
        bar.set_label(fit_labels([what], 40)[0], fontsize=9)
    return figure


def _most_frequent(clouds: Sequence[Cloud], classes: int) -> tuple[int, ...]:
    """Returns the classes that are told apart, in their own order."""
    counts = np.zeros(max(1, classes), np.int64)
    if classes:
        for cloud in clouds:
            counts += np.bincount(cloud.targets.astype(np.int64), minlength=classes)[:classes]
    order = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    return tuple(int(index) for index in sorted(order) if counts[index])


def _draw_classes(axes: Axes, points: NDArray[np.float64], targets: NDArray[np.int64], shown: Sequence[int]) -> None:
    others = ~np.isin(targets, shown)
    axes.scatter(points[others, 0], points[others, 1], s=8, color=OTHER, linewidths=0, zorder=1)
    for position, index in enumerate(shown):
        colour, marker = style_of(position)
        x, y = points[targets == index].T
        axes.scatter(x, y, s=_size(len(points)), c=colour, marker=marker, linewidths=0.3, edgecolors="white")


def _draw_numbers(axes: Axes, points: NDArray[np.float64], numbers: NDArray[np.float64] | NDArray[np.int64]) -> None:
    axes.scatter(
        points[:, 0], points[:, 1], s=_size(len(points)), c=numbers, cmap="cividis", linewidths=0.2, edgecolors=INK
    )


def _size(points: int) -> float:
    """Returns the area of a marker: the more there are, the smaller."""
    return max(10.0, 34.0 - points / 12)


def _add_legend(figure: Figure, classes: Sequence[str], shown: Sequence[int], width: float) -> None:
    from matplotlib.lines import Line2D

    names = fit_labels(classes, 22)
    marks = []
    for position, index in enumerate(shown):
        colour, marker = style_of(position)
        marks.append(Line2D([], [], color=colour, marker=marker, linewidth=0, label=names[index], markersize=6))
    if len(shown) < len(classes):
        marks.append(Line2D([], [], color=OTHER, marker="o", linewidth=0, label="other classes", markersize=4))
    longest = 0.5 + 0.08 * max(len(str(mark.get_label())) for mark in marks)
    figure.legend(
        handles=marks,
        loc="outside lower center",
        ncols=max(1, min(len(marks), int(width / longest))),
        fontsize=8.5,
        frameon=False,
        handletextpad=0.2,
    )


def class_indices(
    targets: NDArray[np.float64] | NDArray[np.int64], classes: Sequence[str]
) -> tuple[NDArray[np.float64] | NDArray[np.int64], tuple[str, ...]]:
    """Returns a target as one class or one number per sample, with the names of the classes (none for numbers).

    A set of labels is a class of its own; of several numbers the first is taken.
    """
    if targets.ndim == 1:
        return targets, tuple(classes) if np.issubdtype(targets.dtype, np.integer) else ()
    if not classes:
        return targets[:, 0], ()
    sets = [
        None if np.isnan(row).any() else "+".join(name for name, has in zip(classes, row, strict=True) if has) or "none"
        for row in targets
    ]
    names = tuple(sorted({each for each in sets if each is not None}))
    return np.array([-1 if each is None else names.index(each) for each in sets]), names
