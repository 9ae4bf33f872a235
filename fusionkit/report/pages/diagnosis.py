"""The page of a diagnosis: plain words first, then every figure."""

from __future__ import annotations

from pathlib import Path

from fusionkit.config.yaml import write_yaml
from fusionkit.errors import RunError
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
from fusionkit.report.pages.diagnosed_target import (
    calibration_blocks,
    cells,
    classes_section,
    earnings_section,
    encoders_section,
    samples_section,
    scores_section,
)
from fusionkit.report.pages.experiment import Report, write_pages
from fusionkit.report.text.diagnosis import diagnosis_words, one_modality
from fusionkit.report.text.tables import NOTHING, SHARE
from fusionkit.report.text.wording import list_names
from fusionkit.storage.records.diagnosis import Diagnosis
from fusionkit.storage.records.document import Figure

MOST_RUNS = 8


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
        made_from = f"diagnosis.json of {diagnosis.time}"
        html, markdown = write_pages(out, "diagnosis", sections, title=title, subtitle=subtitle, made_from=made_from)
    except OSError as error:
        raise RunError(f"{out}: the diagnosis cannot be written ({error.strerror or error})") from error
    blocks = [block for each in sections for block in each.blocks]
    drawn = tuple(block.file for block in blocks if isinstance(block, Picture))
    missing = tuple(missing_sentence(block.what, block.why) for block in blocks if isinstance(block, Missing))
    return Report(html, markdown, drawn, missing)


def diagnosis_sections(diagnosis: Diagnosis, figures: Path) -> tuple[Section, ...]:
    """Makes the sections of the page.

    Args:
        diagnosis: Of one run, or of several merged.
        figures: The folder that receives the figure.
    """
    first, *others = diagnosis_words(diagnosis)
    sections = [section("In short", Paragraph(first), Points(tuple(others)))]
    single = bool(one_modality(diagnosis))
    for target, of in diagnosis.targets.items():
        title = f" of {target}" if len(diagnosis.targets) > 1 else ""
        if single:
            sections += [encoders_section(diagnosis, of, title), section(f"Certainty{title}", *calibration_blocks(of))]
            continue
        sections += [
            scores_section(diagnosis, of, title),
            encoders_section(diagnosis, of, title),
            earnings_section(diagnosis, of, title),
            *classes_section(diagnosis, of, title),
            samples_section(of, title),
        ]
    gradients = [] if single else [_gradients(diagnosis, figures)]
    return (*sections, *gradients, *_notes(diagnosis), _provenance(diagnosis))


def _title(diagnosis: Diagnosis) -> tuple[str, str]:
    protocol = diagnosis.protocol
    where = f"{len(protocol.folds)} folds" if diagnosis.each is not None else f"fold {protocol.fold}"
    runs = f", {len(diagnosis.each)} runs" if diagnosis.each is not None else ""
    return (
        f"What is each modality worth? {' + '.join(diagnosis.modalities)}",
        f"{where}{runs}, {protocol.label}, {diagnosis.selection}; {diagnosis.time[:10]}",
    )


def _gradients(diagnosis: Diagnosis, figures: Path) -> Section:
    drawn = picture(
        figures / "cosines.png",
        lambda: draw_cosines(diagnosis.gradients),
        what="Gradients",
        alt="The cosine between the gradients of uni-modal and fused losses over the training, a line per modality.",
        caption="Mean cosine of every twentieth of the training; below the dashed line the two losses conflict. Of the "
        "parameters of encoder and aggregator, before balancer and clipping.",
    )
    blocks: list[Block] = [drawn]
    if diagnosis.gradients:
        rows = tuple(
            (
                name,
                *(_number(of.thirds.get(third)) for third in ("first", "middle", "last")),
                _number(of.cosine),
                cells(of.negative, SHARE)[0],
                _number(of.norm_ratio, signed=False),
            )
            for name, of in diagnosis.gradients.items()
        )
        header = ("cosine", "first third", "middle", "last", "mean", "negative, % of steps", "norm own / fused")
        blocks.append(Table(header, rows))
    return section("Do the gradients conflict?", *blocks)


def _number(figure: Figure | None, *, signed: bool = True) -> str:
    value = None if figure is None else figure.value
    return NOTHING if value is None else f"{value:{'+' if signed else ''}.2f}"


def _notes(diagnosis: Diagnosis) -> list[Section]:
    return [section("What limits these figures", Points(tuple(diagnosis.notes)))] if diagnosis.notes else []


def _provenance(diagnosis: Diagnosis) -> Section:
    runs = [diagnosis.run or NOTHING] if diagnosis.each is None else [each.run for each in diagnosis.each]
    alone = dict.fromkeys(diagnosis.alone.values()) if diagnosis.alone else ()
    facts = {
        "runs": list_names(runs, most=MOST_RUNS),
        "trained alone": list_names([each or "one of each fold" for each in alone], most=MOST_RUNS) or "none given",
        "command": diagnosis.command,
        "device": diagnosis.device,
        "platform": diagnosis.platform,
        "versions": ", ".join(f"{name} {version}" for name, version in diagnosis.versions.items()),
        "commit": diagnosis.commit or NOTHING,
        "time": diagnosis.time,
    }
    return section(
        "Runs and environment",
        Table(("", "of the diagnosis"), tuple((key, str(value)) for key, value in facts.items()), words=True),
        folded={"Recipe": (Code(write_yaml(diagnosis.recipe)),)},
    )
