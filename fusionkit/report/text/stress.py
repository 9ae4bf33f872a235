"""The remains of scores under corruptions, in words and as text for tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fusionkit.evaluation.bootstrap import FEW_GROUPS
from fusionkit.inference.branches import ENSEMBLE, ENSEMBLES, FUSED
from fusionkit.interfaces import Metric
from fusionkit.report.text.significance import noise_words
from fusionkit.report.text.tables import NOTHING, format_value
from fusionkit.storage.records.stress import Stress, StressCurve, StressPoint, StressTarget

HEADINGS = {"missing": "Missing", "noise": "Noisy", "shift": "Shifted in time", "swap": "Of someone else"}
MEANINGS = {
    "missing": "The share of the samples that lack the modality, of those that have it. Who lacks it at one level "
    "lacks it at every higher one.",
    "noise": "White noise, its standard deviation in standard deviations of the modality, channel by channel: level 1 "
    "is a signal-to-noise ratio of 0 dB, level 2 of -6 dB. Whole numbers are rounded and end where their type ends.",
    "shift": "The modality comes late by so much, the others stay: its first element is held meanwhile, and its end is "
    "lost. What comes early (a level below 0) loses its beginning and holds its last element.",
    "swap": "The share of the samples that are given the modality of another sample, of those that have it. Whose it "
    "is stays the same at every level; the other's class may be the same by chance.",
}
PER_CENT = ("share", "share of the length")
_SPOKEN = {FUSED: "the fused network", ENSEMBLE: "the ensemble"}
"""Names in sentences of columns that are called like their branch."""


def level_text(level: float, unit: str) -> str:
    """Writes a level as a heading.

    Example:
        >>> level_text(0.2, "share"), level_text(0.5, "seconds"), level_text(2.0, "standard deviations")
        ('20 %', '0.5 s', '2 sd')
    """
    if unit in PER_CENT:
        return f"{100 * level:.4g} %"
    return f"{level:g} {'s' if unit == 'seconds' else 'sd'}"


def corruptions_of(document: Stress) -> tuple[str, ...]:
    """Returns the corruptions that have curves, in order."""
    return tuple(dict.fromkeys(curve.corruption for curve in document.curves))


def curves_of(document: Stress, corruption: str, target: str) -> dict[str, list[StressCurve]]:
    """Returns by modality the curves of a corruption and target that have a value; flat ones, too.

    A network of the modality alone says nothing where it is missing, so it has no curve there.
    """
    found: dict[str, list[StressCurve]] = {}
    for curve in document.curves:
        silent = curve.corruption == "missing" and curve.branch == curve.modality
        known = any(point.mean is not None for point in curve.points)
        if (curve.corruption, curve.target) == (corruption, target) and known and not silent:
            found.setdefault(curve.modality, []).append(curve)
    return found


def is_fused(curve: StressCurve) -> bool:
    """Says whether a curve is of several modalities."""
    return curve.branch in (FUSED, *ENSEMBLES)


def reads_it(curve: StressCurve) -> bool:
    """Says whether a curve's branch reads the modality that is corrupted; any other is a flat line."""
    return is_fused(curve) or curve.branch == curve.modality


def rows_of(
    curves: Sequence[StressCurve], metric: Metric, levels: Sequence[float], limits: bool = False
) -> list[tuple[str, ...]]:
    """Tabulates curves that read the modality, a value per level; with its interval, if `limits`."""

    def cell(point: StressPoint | None) -> str:
        if point is None or point.mean is None:
            return NOTHING
        text = format_value(point.mean, metric)
        if limits and point.low is not None:
            text += f" [{format_value(point.low, metric)}, {format_value(point.high, metric)}]"
        return text

    rows = []
    for curve in filter(reads_it, curves):
        at = {point.level: point for point in curve.points}
        rows.append((curve.column, *(cell(at.get(level)) for level in levels)))
    return rows


def levels_of(curves: Sequence[StressCurve]) -> list[float]:
    """Returns every level that some curve has."""
    return sorted({point.level for curve in curves for point in curve.points})


def sentences(document: Stress) -> tuple[str, ...]:
    """Says what is left at the strongest level of every corruption and modality, and what to be careful about."""
    said, few = list[str](), _few_groups(document)
    for target, of in document.targets.items():
        for corruption in corruptions_of(document):
            for modality, curves in curves_of(document, corruption, target).items():
                level = curves[0].strongest.level
                if level and (told := list(_told(curves, of.main_metric))):
                    words = _circumstances(corruption, modality, level, curves[0].unit)
                    where = f" ({_measure(of, target)})" if len(document.targets) > 1 or not said else ""
                    said.append(f"{words}, {_kept(told, of, few)}{where}.")
    return (*said, *_silent(document))


def evidence(document: Stress) -> str:
    """Says on how many samples figures are computed, what one is worth, and by which rule a change counts as real."""
    samples, groups, folds = document.samples, document.groups, len(document.folds)
    grouped = f" of {groups} {'group' if groups == 1 else 'groups'}" if groups < samples else ""
    over = f"{samples} samples{grouped}{f' in {folds} folds' if folds > 1 else ''}"
    counted = [metric.name for of in document.targets.values() if (metric := of.main_metric).of_samples]
    worth = f"; one sample is worth {100 / samples:.2g} points of {counted[0]}" if counted and samples else ""
    if folds > 1:
        rule = "A change counts as real where Student's 95 % interval over folds, paired, excludes 0."
    elif len(document.seeds) > 1:
        rule = "With a single fold, no change can be told from noise."
    elif _few_groups(document):
        rule = f"Fewer than {FEW_GROUPS} groups are too few to tell a change from noise."
    else:
        rule = "A change counts as real where its 95 % interval over resampled groups, paired, excludes 0."
    return f"All figures are computed on {over}{worth}. {rule}"


def _few_groups(document: Stress) -> bool:
    return len(document.folds) == len(document.seeds) == 1 and document.groups < FEW_GROUPS


def _told(curves: Sequence[StressCurve], metric: Metric) -> Iterator[StressCurve]:
    """Yields the best fused curve and the ensemble; of a network of one modality its own."""
    reading = [curve for curve in curves if reads_it(curve) and curve.strongest.mean is not None]
    means = {at: curve.untouched.mean for at, curve in enumerate(reading) if curve.branch == FUSED}
    fused = {at: mean for at, mean in means.items() if mean is not None}
    if fused:
        yield reading[max(fused, key=lambda at: metric.sign * fused[at])]
    ensembles = [curve for curve in reading if curve.branch in ENSEMBLES]
    yield from ensembles[:1]
    if not fused and not ensembles:
        yield from reading[:1]


def _kept(curves: Sequence[StressCurve], of: StressTarget, few: bool) -> str:
    """Says what curves keep, the verb only where it changes; what may be noise is called no change."""
    metric, told, before = of.main_metric, list[str](), ""
    for curve in curves:
        name = _SPOKEN.get(curve.branch, curve.column) if curve.branch == curve.column else curve.column
        mean_before, mean_after = curve.untouched.mean, curve.strongest.mean
        whole, left = format_value(mean_before, metric), format_value(mean_after, metric)
        worse = (mean_after or 0) < (mean_before or 0)
        noise = noise_words(curve.gain, few)
        if left == whole:
            verb, numbers = "stays at", whole
        elif noise != "beyond noise":
            verb, numbers = "reaches", f"{left} instead of {whole} ({noise})"
        elif metric.share and metric.higher_is_better and worse:
            verb, numbers = "keeps", f"{left} of {whole}" + ("" if before == "keeps" else " points")
        else:
            verb, numbers = "goes", f"from {whole} to {left}"
        told.append(f"{name} {numbers}" if verb == before else f"{name} {verb} {numbers}")
        before = verb
    return ", ".join(told)


def _circumstances(corruption: str, modality: str, level: float, unit: str) -> str:
    text = level_text(abs(level), unit)
    if corruption == "missing":
        return f"Without {modality}" if level == 1 else f"With {modality} missing in {text} of the samples"
    if corruption == "noise":
        return f"With noise of {level:g} standard deviations on {modality}"
    if corruption == "shift":
        of_length = " of its length" if unit == "share of the length" else ""
        return f"With {modality} {text}{of_length} {'late' if level > 0 else 'early'}"
    return f"With the {modality} of another sample" + ("" if level == 1 else f" in {text} of the samples")


def _measure(of: StressTarget, target: str) -> str:
    metric = of.main_metric
    unit = ", %" if metric.share else ""
    return f"{metric.name} of {target}{unit}, {'higher' if metric.higher_is_better else 'lower'} is better"


def measure_in_words(document: Stress, target: str) -> str:
    """Names the metric of a target, its unit, and which way is better."""
    return _measure(document.targets[target], target)


def _silent(document: Stress) -> list[str]:
    """Curves whose strongest point is over fewer samples, since some are left without any modality."""
    fewer = {
        f"{curve.column} without {curve.modality} ({curve.strongest.samples} of {most})"
        for curve in document.curves
        if is_fused(curve)
        and curve.corruption == "missing"
        and curve.strongest.samples < (most := curve.untouched.samples)
    }
    if not fewer:
        return []
    return [
        "Careful: an ensemble says nothing of a sample that is left without any modality, so these points are over "
        f"fewer samples than the others: {', '.join(sorted(fewer))}."
    ]
