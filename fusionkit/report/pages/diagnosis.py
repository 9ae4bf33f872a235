"""The page of a diagnosis: plain words first, then every figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusionkit.config.yaml import write_yaml
from fusionkit.errors import RunError
from fusionkit.evaluation.branches import CONSTANT
from fusionkit.evaluation.diagnosis.subsets import name_of
from fusionkit.interfaces import Metric
from fusionkit.report.figures.cosines import draw_cosines
from fusionkit.report.pages.blocks import (
    Block,
    Code,
    Missing,
    Paragraph,
    Picture,
    Points,
    Section,
    Table,
    missing_sentence,
    picture,
    section,
)
from fusionkit.report.pages.experiment import Report, write_pages
from fusionkit.report.text.diagnosis import diagnosis_words, one_modality
from fusionkit.report.text.diagnosis_scores import HOW, Diagnosis, score_of
from fusionkit.report.text.noise import TOO_FEW, Figure, has_few_groups, has_interval, spared_words
from fusionkit.report.text.tables import NOTHING, SHARE, format_value
from fusionkit.report.text.wording import list_names

MOST_RUNS = 8
DISTANCE = Metric("distance", higher_is_better=False, has_unit=True)
"""How a distance between numbers is shown."""


def write_diagnosis(diagnosis: Diagnosis, out: str | Path) -> Report:
    """Writes ``diagnosis.html``, ``diagnosis.md`` and ``figures/cosines.png``.

    Args:
        diagnosis: Of one run, or of several merged.
        out: The folder.

    Raises:
        RunError: They cannot be written.
    """
    out = Path(out)
    figures = out / "figures"
    try:
        figures.mkdir(parents=True, exist_ok=True)
        sections = diagnosis_sections(diagnosis, figures)
        title, subtitle = _title(diagnosis)
        made_from = f"diagnosis.json of {diagnosis['time']}"
        html, markdown = write_pages(out, "diagnosis", sections, title=title, subtitle=subtitle, made_from=made_from)
    except OSError as error:
        raise RunError(f"{out}: the diagnosis cannot be written ({error.strerror or error})") from error
    blocks = [block for each in sections for block in each.blocks]
    drawn = tuple(block.file for block in blocks if isinstance(block, Picture))
    missing = tuple(missing_sentence(block.what, block.why) for block in blocks if isinstance(block, Missing))
    return Report(html, markdown, drawn, missing)


def diagnosis_sections(diagnosis: Diagnosis, figures: Path) -> tuple[Section, ...]:
    """The sections of the page.

    Args:
        diagnosis: Of one run, or of several merged.
        figures: The folder that receives the figure.
    """
    first, *others = diagnosis_words(diagnosis)
    sections = [section("In short", Paragraph(first), Points(tuple(others)))]
    single = bool(one_modality(diagnosis))
    for target, of in diagnosis["targets"].items():
        title = f" of {target}" if len(diagnosis["targets"]) > 1 else ""
        if single:
            sections += [_encoders(diagnosis, of, title), section(f"Certainty{title}", *_calibration(of))]
            continue
        sections += [
            _scores(diagnosis, of, title),
            _encoders(diagnosis, of, title),
            _earnings(diagnosis, of, title),
            *_classes(diagnosis, of, title),
            _samples(of, title),
        ]
    gradients = [] if single else [_gradients(diagnosis, figures)]
    return (*sections, *gradients, *_notes(diagnosis), _provenance(diagnosis))


def _title(diagnosis: Diagnosis) -> tuple[str, str]:
    protocol = diagnosis["protocol"]
    where = f"{len(protocol['folds'])} folds" if "each" in diagnosis else f"fold {protocol['fold']}"
    runs = f", {len(diagnosis['each'])} runs" if "each" in diagnosis else ""
    return (
        f"What is each modality worth? {' + '.join(diagnosis['modalities'])}",
        f"{where}{runs}, {protocol['label']}, {diagnosis['selection']}; {diagnosis['time'][:10]}",
    )


def _cells(figure: Figure | None, score: Metric, *, signed: bool = False) -> tuple[str, str]:
    """A value and its interval."""
    if figure is None:
        return NOTHING, NOTHING
    value = format_value(figure["value"], score, signed=signed)
    if not has_interval(figure):
        return value, NOTHING
    return value, " to ".join(format_value(figure[end], score, signed=signed) for end in ("low", "high"))


def _unit(of: Mapping[str, Any]) -> str:
    score = score_of(of)
    better = "higher" if score.higher_is_better else "lower"
    return f"{score.name}{', %' if score.share else ''}; {better} is better"


def _scores(diagnosis: Diagnosis, of: Mapping[str, Any], title: str) -> Section:
    score = score_of(of)
    rows = [("all modalities, fused", "this network", *_cells(of["fused"], score))]
    rows += [
        (f"{name} by itself", each["source"] or "as each run has it", *_cells(each["score"], score))
        for name, each in of["singles"].items()
    ]
    rows += [(f"{how} of these", branch, *_cells(of[branch], score)) for branch, how in HOW.items() if of.get(branch)]
    if of.get(CONSTANT):
        rows += [("no modality", "constant answer of the training part", *_cells(of[CONSTANT]["score"], score))]
    rows += [
        (f"fused, {_only(name)}", "this network, the others missing", *_cells(of_it, score))
        for name, of_it in list(of["subsets"].items())[:-1]
    ]
    gains = [
        (f"fused, over {what}", *_cells(of["fusing"].get(key), score, signed=True))
        for key, what in (
            ("over_best_single", "the best single modality"),
            *((f"over_{name}", f"the {how} of single modalities") for name, how in HOW.items()),
        )
        if of["fusing"].get(key) is not None
    ]
    if of.get(CONSTANT):
        gains.append(("fused, over the constant answer", *_cells(of[CONSTANT]["over"], score, signed=True)))
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
                if "each" in diagnosis
                else "Intervals resample the groups of the test part, the same for both."
            )
        ),
        *_caveat(diagnosis, of),
    )


def _caveat(diagnosis: Diagnosis, of: Mapping[str, Any]) -> list[Block]:
    """What the gains of a table are not, where groups are few."""
    if not has_few_groups(diagnosis, of):
        return []
    return [Paragraph(f"The test part is of {of['groups']} groups: {TOO_FEW} any of these gains from noise.")]


def _only(subset: str) -> str:
    return "of nothing" if subset == name_of(()) else f"of {subset} only"


def _encoders(diagnosis: Diagnosis, of: Mapping[str, Any], title: str) -> Section:
    score = score_of(of)
    rows = tuple(
        (
            name,
            *(_cells(probe[key], score)[0] for key in ("score", "own_head", "alone_probe", "alone")),
            *_cells(probe["kept"], score, signed=True),
        )
        for name, probe in of["probe"].items()
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


def _earnings(diagnosis: Diagnosis, of: Mapping[str, Any], title: str) -> Section:
    score, cost = score_of(of), diagnosis["cost"]
    sign = score.sign
    shares = {
        name: None if share["value"] is None else sign * share["value"]
        for name, share in (of["shapley"] or {"shares": {}})["shares"].items()
    }
    rows = []
    for name in diagnosis["modalities"]:
        rows.append(
            (
                name,
                *_cells(of["drop"].get(name), score, signed=True),
                format_value(shares.get(name), score, signed=True),
                spared_words(cost["spared"][name]) if name in cost["spared"] else NOTHING,
            )
        )
    blocks: list[Block] = [
        Table(("", "earns, others there", "95 % interval", "Shapley share", "time of a sample"), tuple(rows)),
        *_caveat(diagnosis, of),
    ]
    if of["shapley"] is not None:
        empty, everything = (format_value(of["shapley"][key]["value"], score) for key in ("empty", "all"))
        blocks.append(
            Paragraph(
                f"Shapley shares add up to the way from {empty}, the score of what the network says without any "
                f"modality, to {everything} with all; positive is better."
            )
        )
    blocks.append(
        Paragraph(
            f"Time is of the network alone, in batches of {cost['batch']['value']:.0f} on {diagnosis['device']}: all "
            f"modalities take {cost['all']['value']:.2g} ms per sample; the table says how much less it is without "
            "each, and no difference where some turn of timing was not faster without it. Reading and preparing are "
            "not in it."
        )
    )
    return section(f"What does each modality earn and cost{title}?", *blocks)


def _classes(diagnosis: Diagnosis, of: Mapping[str, Any], title: str) -> list[Section]:
    if not of["classes"]:
        return []
    rows = tuple(
        (
            name,
            str(each["samples"]),
            *(_cells(each[key], SHARE)[0] for key in ("first", "second")),
            *_cells(each["gain"], SHARE, signed=True),
        )
        for name, each in of["classes"].items()
    )
    header = ("", "samples", "recall fused, %", "best single, %", "gain", "95 % interval")
    return [section(f"Which classes does fusing hurt{title}?", Table(header, rows), *_caveat(diagnosis, of))]


def _samples(of: Mapping[str, Any], title: str) -> Section:
    names = {"best_single": "best single modality"} | {name: f"{how} of single modalities" for name, how in HOW.items()}
    words = ("nearer", "farther") if of["kind"] == "numbers" else ("rescued", "hurt")
    rows = tuple(
        (names[rival], *(str(each[key]) for key in ("samples", "rescued", "hurt")))
        for rival, each in of["rivals"].items()
    )
    blocks: list[Block] = [Table(("fused against", "samples", *words), rows)]
    blocks += _disagreement(of)
    blocks += _calibration(of)
    folded = {
        f"{words[1].capitalize()} against the {names[rival]}": (
            Paragraph(list_names(each["hurt_samples"], most=20) or "None."),
        )
        for rival, each in of["rivals"].items()
    }
    return section(f"Single samples and certainty{title}", *blocks, folded=folded)


def _disagreement(of: Mapping[str, Any]) -> list[Block]:
    differ = of["disagreement"]
    if differ is None:
        return []
    rows: tuple[tuple[str, str], ...]
    if of["kind"] == "numbers":
        rows = (
            ("mean distance between modalities", format_value(differ["disagree"]["value"], DISTANCE)),
            ("fused error where they are near", format_value(differ["near"]["value"], DISTANCE)),
            ("fused error where they are apart", format_value(differ["far"]["value"], DISTANCE)),
        )
        return [Paragraph("Where modalities disagree:"), Table(("", "mean absolute"), rows)]
    rows = (
        ("samples on which modalities disagree", format_value(differ["disagree"]["value"], SHARE)),
        ("fused right where they agree", format_value(differ["agree"]["value"], SHARE)),
        ("fused right where they disagree and one is right", format_value(differ["one_right"]["value"], SHARE)),
        ("fused right where they disagree and all are wrong", format_value(differ["all_wrong"]["value"], SHARE)),
    )
    return [Paragraph("Where modalities disagree:"), Table(("", "%"), rows)]


def _calibration(of: Mapping[str, Any]) -> list[Block]:
    classes = of["kind"] == "classes"
    shown = SHARE if of["kind"] != "numbers" else DISTANCE
    rows = tuple(
        (
            name,
            *([_cells(each["ece"], SHARE)[0]] if classes else []),
            _cells(each["surplus"], shown, signed=True)[0],
            each["source"] or NOTHING,
        )
        for name, each in of["calibration"].items()
    )
    surplus = "confidence minus share right" if classes else "said minus true, mean"
    header = ("branch", *(["calibration error, %"] if classes else []), surplus, "whose answer")
    return [Paragraph("How sure each branch is (a positive surplus is too much):"), Table(header, rows, words=True)]


def _gradients(diagnosis: Diagnosis, figures: Path) -> Section:
    drawn = picture(
        figures / "cosines.png",
        lambda: draw_cosines(diagnosis["gradients"]),
        what="Gradients",
        alt="The cosine between the gradients of uni-modal and fused losses over the training, a line per modality.",
        caption="Mean cosine of every twentieth of the training; below the dashed line the two losses conflict. Of the "
        "parameters of encoder and aggregator, before balancer and clipping.",
    )
    blocks: list[Block] = [drawn]
    if diagnosis["gradients"]:
        rows = tuple(
            (
                name,
                *(_number(of["thirds"].get(third)) for third in ("first", "middle", "last")),
                _number(of["cosine"]),
                _cells(of["negative"], SHARE)[0],
                _number(of["norm_ratio"], signed=False),
            )
            for name, of in diagnosis["gradients"].items()
        )
        header = ("cosine", "first third", "middle", "last", "mean", "negative, % of steps", "norm own / fused")
        blocks.append(Table(header, rows))
    return section("Do the gradients conflict?", *blocks)


def _number(figure: Figure | None, *, signed: bool = True) -> str:
    value = None if figure is None else figure["value"]
    return NOTHING if value is None else f"{value:{'+' if signed else ''}.2f}"


def _notes(diagnosis: Diagnosis) -> list[Section]:
    return [section("What limits these figures", Points(tuple(diagnosis["notes"])))] if diagnosis["notes"] else []


def _provenance(diagnosis: Diagnosis) -> Section:
    runs = [each["run"] for each in diagnosis["each"]] if "each" in diagnosis else [diagnosis["run"]]
    alone = dict.fromkeys(diagnosis["alone"].values()) if diagnosis["alone"] else ()
    facts = {
        "runs": list_names(runs, most=MOST_RUNS),
        "trained alone": list_names([each or "one of each fold" for each in alone], most=MOST_RUNS) or "none given",
        "command": diagnosis["command"],
        "device": diagnosis["device"],
        "platform": diagnosis["platform"],
        "versions": ", ".join(f"{name} {version}" for name, version in diagnosis["versions"].items()),
        "commit": diagnosis["commit"] or NOTHING,
        "time": diagnosis["time"],
    }
    return section(
        "Runs and environment",
        Table(("", "of the diagnosis"), tuple((key, str(value)) for key, value in facts.items()), words=True),
        folded={"Recipe": (Code(write_yaml(diagnosis["recipe"])),)},
    )
