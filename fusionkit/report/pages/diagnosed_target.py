"""The sections of a diagnosis that are of one target: what fusing, encoders, modalities and classes are worth."""

from __future__ import annotations

from fusionkit.evaluation.diagnosis.subsets import name_of
from fusionkit.interfaces import Metric
from fusionkit.report.pages.blocks import Block, Paragraph, Section, Table, section
from fusionkit.report.text.diagnosis_scores import HOW
from fusionkit.report.text.significance import TOO_FEW, has_few_groups, has_interval, spared_words
from fusionkit.report.text.tables import NOTHING, SHARE, format_value
from fusionkit.report.text.wording import list_names
from fusionkit.storage.records.diagnosis import DiagnosedTarget, Diagnosis
from fusionkit.storage.records.document import Figure

RIVALS = {"best_single": "best single modality"} | {name: f"{how} of single modalities" for name, how in HOW.items()}
"""By name in a diagnosis, what fusing is held against."""
DISTANCE = Metric("distance", higher_is_better=False, has_unit=True)
"""The format of a distance between numbers."""


def cells(figure: Figure | None, score: Metric, *, signed: bool = False) -> tuple[str, str]:
    """Returns a value and its interval as cells of a table."""
    if figure is None:
        return NOTHING, NOTHING
    value = format_value(figure.value, score, signed=signed)
    if not has_interval(figure):
        return value, NOTHING
    return value, " to ".join(format_value(limit, score, signed=signed) for limit in (figure.low, figure.high))


def _unit(of: DiagnosedTarget) -> str:
    score = of.main_metric
    better = "higher" if score.higher_is_better else "lower"
    return f"{score.name}{', %' if score.share else ''}; {better} is better"


def scores_section(diagnosis: Diagnosis, of: DiagnosedTarget, title: str) -> Section:
    """Says whether fusing helps: the scores, and the gains over every rival."""
    score = of.main_metric
    rows = [("all modalities, fused", "this network", *cells(of.fused, score))]
    rows += [
        (f"{name} by itself", each.source or "as each run has it", *cells(each.score, score))
        for name, each in of.singles.items()
    ]
    rows += [(f"{HOW[branch]} of these", branch, *cells(pooled, score)) for branch, pooled in of.ensembles.items()]
    if of.constant is not None:
        rows += [("no modality", "constant answer of the training part", *cells(of.constant.score, score))]
    rows += [
        (f"fused, {_only(name)}", "this network, the others missing", *cells(of_it, score))
        for name, of_it in list(of.subsets.items())[:-1]
    ]
    over = of.fusing.gains | {"constant": None if of.constant is None else of.constant.over}
    gains = [
        (f"fused, over the {what}", *cells(over[rival], score, signed=True))
        for rival, what in (*RIVALS.items(), ("constant", "constant answer"))
        if over[rival] is not None
    ]
    return section(
        f"Does fusing help{title}?",
        Paragraph(f"Scores ({_unit(of)})."),
        Table(("", "whose answer", "score", "95 % interval"), tuple(rows), words=True),
        Paragraph("Gains, positive where fusing is better, on the samples that both answer:"),
        Table(("", "gain", "95 % interval"), tuple(gains)),
        Paragraph(
            "The best single modality is chosen by the very figures that are compared, which favours not fusing. "
            + (
                "Intervals are Student's t over folds, a little too narrow, since training parts overlap."
                if diagnosis.each is not None
                else "Intervals resample the groups of the test part, the same for both."
            )
        ),
        *_caveat(diagnosis, of),
    )


def _caveat(diagnosis: Diagnosis, of: DiagnosedTarget) -> list[Block]:
    """Says what the gains of a table are not, where groups are few."""
    if not has_few_groups(diagnosis, of):
        return []
    return [Paragraph(f"The test part is of {of.groups} groups: {TOO_FEW} any of these gains from noise.")]


def _only(subset: str) -> str:
    return "of nothing" if subset == name_of(()) else f"of {subset} only"


def encoders_section(diagnosis: Diagnosis, of: DiagnosedTarget, title: str) -> Section:
    """Says what is left in the encoders, by linear heads on them."""
    score = of.main_metric
    rows = tuple(
        (
            name,
            *(cells(each, score)[0] for each in (probe.score, probe.own_head, probe.alone_probe, probe.alone)),
            *cells(probe.kept, score, signed=True),
        )
        for name, probe in of.probe.items()
    )
    header = ("", "linear head here", "own head here", "linear head, alone", "own head, alone", "kept", "95 % interval")
    return section(
        f"What is left in the encoders{title}?",
        Paragraph(
            "Each encoder is frozen and a linear head is trained on its features: of this network (here) and of the "
            f"network trained on that modality alone. Kept is the first minus the third ({_unit(of)}, gains positive)."
        ),
        Table(header, rows) if rows else Paragraph("No linear head could be trained."),
        *_caveat(diagnosis, of),
    )


def earnings_section(diagnosis: Diagnosis, of: DiagnosedTarget, title: str) -> Section:
    """Says what each modality earns, and what it costs in time."""
    score, cost = of.main_metric, diagnosis.cost
    sign = score.sign
    shapley = {} if of.shapley is None else of.shapley.shares
    shares = {name: None if share.value is None else sign * share.value for name, share in shapley.items()}
    rows = []
    for name in diagnosis.modalities:
        rows.append(
            (
                name,
                *cells(of.drop.get(name), score, signed=True),
                format_value(shares.get(name), score, signed=True),
                spared_words(cost.spared[name]) if name in cost.spared else NOTHING,
            )
        )
    blocks: list[Block] = [
        Table(("", "earns, others there", "95 % interval", "Shapley share", "time of a sample"), tuple(rows)),
        *_caveat(diagnosis, of),
    ]
    if of.shapley is not None:
        empty, everything = (format_value(each.value, score) for each in (of.shapley.empty, of.shapley.all))
        blocks.append(
            Paragraph(
                f"Shapley shares add up to the way from {empty}, the score of what the network says without any "
                f"modality, to {everything} with all; positive is better."
            )
        )
    blocks.append(
        Paragraph(
            f"Time is of the network alone, in batches of {cost.batch.value or 0:.0f} on {diagnosis.device}: all "
            f"modalities take {cost.all.value or 0:.2g} ms per sample; the table says how much less it is without "
            "each, and no difference where some turn of timing was not faster without it. Reading and preparing are "
            "not in it."
        )
    )
    return section(f"What does each modality earn and cost{title}?", *blocks)


def classes_section(diagnosis: Diagnosis, of: DiagnosedTarget, title: str) -> list[Section]:
    """Says which classes fusing hurts; nothing where the target has no classes."""
    if not of.classes:
        return []
    rows = tuple(
        (
            name,
            str(each.samples),
            *(cells(recall, SHARE)[0] for recall in (each.first, each.second)),
            *cells(each.gain, SHARE, signed=True),
        )
        for name, each in of.classes.items()
    )
    header = ("", "samples", "recall fused, %", "best single, %", "gain", "95 % interval")
    return [section(f"Which classes does fusing hurt{title}?", Table(header, rows), *_caveat(diagnosis, of))]


def samples_section(of: DiagnosedTarget, title: str) -> Section:
    """Counts samples that fusing rescues and hurts, and says how sure branches are."""
    words = ("nearer", "farther") if of.kind == "numbers" else ("rescued", "hurt")
    rows = tuple(
        (RIVALS[rival], *map(str, (each.samples, each.rescued, each.hurt))) for rival, each in of.rivals.items()
    )
    blocks: list[Block] = [Table(("fused against", "samples", *words), rows)]
    blocks += _disagreement(of)
    blocks += calibration_blocks(of)
    folded = {
        f"{words[1].capitalize()} against the {RIVALS[rival]}": (
            Paragraph(list_names(each.hurt_samples, most=20) or "None."),
        )
        for rival, each in of.rivals.items()
    }
    return section(f"Single samples and certainty{title}", *blocks, folded=folded)


def _disagreement(of: DiagnosedTarget) -> list[Block]:
    differ = of.disagreement
    if differ is None:
        return []
    if of.kind == "numbers":
        shown, unit = DISTANCE, "mean absolute"
        figures = {
            "mean distance between modalities": differ.disagree,
            "fused error where they are near": differ.near,
            "fused error where they are apart": differ.far,
        }
    else:
        shown, unit = SHARE, "%"
        figures = {
            "samples on which modalities disagree": differ.disagree,
            "fused right where they agree": differ.agree,
            "fused right where they disagree and one is right": differ.one_right,
            "fused right where they disagree and all are wrong": differ.all_wrong,
        }
    rows = tuple((name, cells(each, shown)[0]) for name, each in figures.items())
    return [Paragraph("Where modalities disagree:"), Table(("", unit), rows)]


def calibration_blocks(of: DiagnosedTarget) -> list[Block]:
    """Says how sure each branch is."""
    classes = of.kind == "classes"
    shown = SHARE if of.kind != "numbers" else DISTANCE
    rows = tuple(
        (
            name,
            *([cells(each.ece, SHARE)[0]] if classes else []),
            cells(each.surplus, shown, signed=True)[0],
            each.source or NOTHING,
        )
        for name, each in of.calibration.items()
    )
    surplus = "confidence minus share right" if classes else "said minus true, mean"
    header = ("branch", *(["calibration error, %"] if classes else []), surplus, "whose answer")
    return [Paragraph("How sure each branch is (a positive surplus is too much):"), Table(header, rows, words=True)]
