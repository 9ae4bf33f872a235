"""A diagnosis in plain words."""

from __future__ import annotations

from fusionkit.report.text.diagnosis_scores import (
    HOW,
    against_constant,
    better_ensemble,
    gain_words,
    points,
    turn_sign,
    with_interval,
)
from fusionkit.report.text.significance import (
    NO_TIME,
    TOO_FEW,
    has_few_groups,
    has_interval,
    noise_words,
    spared_words,
)
from fusionkit.report.text.tables import NOTHING, SHARE, format_value
from fusionkit.report.text.verdict import say_nothing_to_fuse
from fusionkit.report.text.wording import MOST_LISTED, list_names
from fusionkit.storage.records.diagnosis import DiagnosedTarget, Diagnosis
from fusionkit.storage.records.document import Figure

ROUNDING = 1e-6
"""Differences of scores below this are of rounding, such as of two optimisations of the same linear head."""
ASIDE = 0.05
"""A cosine below minus this is called against each other, above it along with each other."""


def diagnosis_words(diagnosis: Diagnosis) -> tuple[str, ...]:
    """Answers sentence by sentence; every one follows from the figures."""
    sentences: list[str] = []
    several = len(diagnosis.targets) > 1
    single = one_modality(diagnosis)
    for target, of in diagnosis.targets.items():
        answer, *more = [say_nothing_to_fuse(single)] if single else _fusing(diagnosis, target, of)
        reached = f"{_reached(diagnosis, of)} {answer}"
        own = [*against_constant(diagnosis, of), reached, *more, *_encoders(diagnosis, of)]
        if not single:
            own += [*_modalities(diagnosis, of), *_classes(diagnosis, of), *_samples(diagnosis, of)]
        sentences += [f"{target}: {sentence[0].lower()}{sentence[1:]}" if several else sentence for sentence in own]
    return tuple(sentences) if single else (*sentences, *_gradients(diagnosis))


def one_modality(diagnosis: Diagnosis) -> str:
    """Returns the only modality of a network; empty where there are several."""
    names = diagnosis.modalities
    return str(names[0]) if len(names) == 1 else ""


def _reached(diagnosis: Diagnosis, of: DiagnosedTarget) -> str:
    """Says what the fused score is, and over what."""
    score = of.main_metric
    value = f"{format_value(of.fused.value, score)}{' %' if score.share else ''}"
    if diagnosis.each is not None:
        folds = len({each.fold for each in diagnosis.each})
        over = f"mean over {folds} folds" if folds > 1 else f"mean over {len(diagnosis.each)} runs of one fold"
    else:
        grouped = f" of {of.groups} {'group' if of.groups == 1 else 'groups'}"
        over = f"{of.samples} samples{grouped if of.groups < of.samples else ''}"
        if score.of_samples and of.samples:
            over += f", one sample is worth {points(1 / of.samples, score)}"
    return f"The {'' if one_modality(diagnosis) else 'fused '}network reaches {value} ({score.name}, {over})."


def _fusing(diagnosis: Diagnosis, target: str, of: DiagnosedTarget) -> list[str]:
    score, sentences = of.main_metric, list[str]()
    of_score = f" of {score.name}" if score.share else ""
    best, over = of.fusing.best_single, of.fusing.over_best_single
    if over is None or over.value is None:
        return ["Whether fusing helps cannot be told: no modality could be judged by itself."]
    low, high = over.limits or (0.0, 0.0)
    rival = "the best single modality of each fold" if best is None else f"{best} by itself ({_source(of, best)})"
    gain = with_interval(over, score, diagnosis)
    if has_few_groups(diagnosis, of) and of.groups > 1:
        signed = with_interval(over, score, diagnosis, signed=True)
        sentences.append(
            f"Whether fusing helps is unclear: {signed}{of_score} over {rival}, but the {of.groups} groups of the "
            "test part are too few to tell a gain from noise."
        )
    elif not has_interval(over):
        verb = "gains" if over.value > 0 else "loses"
        here = f"{verb} {points(abs(over.value), score)}{of_score}" if over.value else "gains nothing"
        sentences.append(
            f"Whether fusing helps is unclear, for {_name_unclear(diagnosis, of)} cannot tell a gain from noise: "
            f"here it {here} against {rival}."
        )
    elif low > 0:
        sentences.append(f"Fusing helps by {gain}{of_score} over {rival}.")
    elif high < 0:
        lost = with_interval(turn_sign(over), score, diagnosis)
        sentences.append(f"Fusing harms: it costs {lost}{of_score} against {rival}.")
    else:
        signed = with_interval(over, score, diagnosis, signed=True)
        sentences.append(f"Whether fusing helps is unclear: {signed}{of_score} over {rival}, which is within noise.")
    several = len({each.seed for each in diagnosis.each or ()}) > 1
    better = [
        f"in fold {each.fold}{f', seed {each.seed},' if several else ''} {fusing.best_single} alone "
        f"is better by {points(-value, score)}"
        for each in diagnosis.each or ()
        if (fusing := each.fusing[target]).best_single is not None
        and (against := fusing.over_best_single) is not None
        and (value := against.value) is not None
        and value < 0
    ]
    if better:
        text = list_names(better, "; ")
        sentences.append(f"{text[0].upper()}{text[1:]}.")
    if (pooled := better_ensemble(of)) is not None:
        name, over_pooled = pooled
        sentences.append(
            f"Against the {HOW[name]} of the single modalities it {gain_words(over_pooled, score, diagnosis)}: "
            f"{noise_words(over_pooled, has_few_groups(diagnosis, of))}."
        )
    if any(each.source != "trained alone" for each in of.singles.values()):
        sentences.append(
            "Single modalities are judged by heads on this very network, which joint training may have weakened; "
            "--alone RUN compares with networks trained alone."
        )
    return sentences


def _name_unclear(diagnosis: Diagnosis, of: DiagnosedTarget) -> str:
    """Says why a gain has no interval."""
    if diagnosis.each is None:
        return "one group" if of.groups < 2 else f"the same gain in all {of.groups} groups"
    return "one fold" if len({each.fold for each in diagnosis.each}) == 1 else "the same gain in every fold"


def _source(of: DiagnosedTarget, modality: str) -> str:
    single = of.singles.get(modality)
    return NOTHING if single is None or single.source is None else str(single.source)


def _encoders(diagnosis: Diagnosis, of: DiagnosedTarget) -> list[str]:
    """Says how much of each modality's skill is left in its encoder."""
    score, few, parts = of.main_metric, has_few_groups(diagnosis, of), []
    for name, probe in of.probe.items():
        kept = probe.kept
        if kept is None or kept.value is None:
            continue
        verb = "lost" if kept.value < 0 else "gained"
        amount = "lost nothing"
        if abs(kept.value) > ROUNDING:
            amount = f"{verb} {points(abs(kept.value), score)} ({noise_words(kept, few)})"
        parts.append(f"the {name} encoder {amount} against {name} trained alone")
    if parts:
        text = "; ".join(parts)
        return [f"{text[0].upper()}{text[1:]}, as a linear head on the frozen encoders reads it."]
    read = [
        f"{name} {format_value(probe.score.value, score)}{' %' if score.share else ''}"
        for name, probe in of.probe.items()
    ]
    return [f"A linear head on the frozen encoders reads ({score.name}): {', '.join(read)}."] if read else []


def _modalities(diagnosis: Diagnosis, of: DiagnosedTarget) -> list[str]:
    """Says what each modality earns, and what it costs in time."""
    score, few, sentences = of.main_metric, has_few_groups(diagnosis, of), []
    if of.shapley is not None and len(diagnosis.modalities) > 1:
        sign = score.sign
        shares = [
            f"{name} {points(None if share.value is None else sign * share.value, score, signed=True)}"
            for name, share in of.shapley.shares.items()
        ]
        caveat = f"; {TOO_FEW} these from noise" if few else ""
        sentences.append(f"What each modality adds to the fused score (Shapley share): {', '.join(shares)}{caveat}.")
    drops = []
    for name, gain in of.drop.items():
        if gain.value is None:
            continue
        what = "worse" if gain.value > 0 else "better"
        amount = "no change"
        if abs(gain.value) > ROUNDING:
            amount = f"{points(abs(gain.value), score)} {what} ({noise_words(gain, few)})"
        time = spared_words(diagnosis.cost.spared[name], sign=-1)
        drops.append(f"drop {name}: {amount}, {f'{NO_TIME} in time' if time == NO_TIME else f'{time} per sample'}")
    if drops:
        text = "; ".join(drops)
        sentences.append(f"{text[0].upper()}{text[1:]}.")
    return sentences


def _classes(diagnosis: Diagnosis, of: DiagnosedTarget) -> list[str]:
    gains = {name: each.gain.value or 0.0 for name, each in of.classes.items()}
    hurt = sorted((name for name, gain in gains.items() if gain < 0), key=lambda name: gains[name])
    if not of.classes:
        return []
    if not hurt:
        return ["Fusing lowers the recall of no class."]
    few = has_few_groups(diagnosis, of)
    recalls = ", ".join(
        f"{name} {format_value(gains[name], SHARE, signed=True)}"
        f"{'' if diagnosis.each is not None else f' of {of.classes[name].samples} samples'}"
        f" ({noise_words(of.classes[name].gain, few)})"
        for name in hurt[:MOST_LISTED]
    )
    count = f"{len(hurt)} of {len(of.classes)} classes"
    return [f"Against the best single modality, fusing lowers the recall of {count}, in points: {recalls}."]


def _samples(diagnosis: Diagnosis, of: DiagnosedTarget) -> list[str]:
    sentences = []
    seeds = len({each.seed for each in diagnosis.each or ()})
    each_seed = f" (each counted once per seed, of {seeds})" if seeds > 1 else ""
    names = {"best_single": "the best single modality"}
    if (pooled := better_ensemble(of)) is not None:
        names[pooled[0]] = f"the {HOW[pooled[0]]} of the single modalities"
    verbs = ("is farther from", "is nearer to") if of.kind == "numbers" else ("gets wrong", "gets right")
    for rival, counted in ((name, counted) for name, counted in of.rivals.items() if name in names):
        if of.kind == "numbers":
            text = f"is nearer to the truth than {names[rival]} in {counted.rescued}, farther in {counted.hurt}"
        else:
            text = f"rescues {counted.rescued} that {names[rival]} {verbs[0]}, and hurts {counted.hurt} that it "
            text += verbs[1]
        sentences.append(f"Of {counted.samples} samples{each_seed} fusing {text}.")
    differ = of.disagreement
    if differ is not None and differ.one_right is not None and differ.one_right.value is not None:
        sentences.append(
            f"Modalities disagree on {_percent(differ.disagree)} of the {differ.samples} samples that have all "
            f"of them; where they do and one is right, fusing is right in {_percent(differ.one_right)}."
        )
    return sentences


def _gradients(diagnosis: Diagnosis) -> list[str]:
    gradients = diagnosis.gradients
    if not gradients:
        return [
            "Gradients of uni-modal and fused losses were not recorded: train with train.gradient_cosines=10 (a "
            "network without uni-modal heads with unimodal_heads: true and the balancer fused_only)."
        ]
    parts = []
    for name, of in gradients.items():
        cosine = of.cosine.value
        way = "are unknown" if cosine is None else "hardly touch"
        if cosine is not None and abs(cosine) > ASIDE:
            way = "pull apart" if cosine < 0 else "pull together"
        thirds = ", ".join(
            f"{_signed(figure)} in the {third} third" for third, figure in of.thirds.items() if third != "middle"
        )
        parts.append(
            f"in the {name} encoder they {way} (mean cosine {_signed(of.cosine)}; {thirds} of the training; negative "
            f"in {_percent(of.negative)} of the steps)"
        )
    return [f"Gradients of the uni-modal and the fused loss: {'; '.join(parts)}."]


def _signed(figure: Figure) -> str:
    return NOTHING if figure.value is None else f"{figure.value:+.2f}"


def _percent(figure: Figure) -> str:
    value = figure.value
    return NOTHING if value is None else f"{100 * value:.0f} %"
