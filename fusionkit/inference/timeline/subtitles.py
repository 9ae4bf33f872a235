"""Answers over time as subtitles in WebVTT."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from fusionkit.inference.answers import Answer, TargetAnswer
from fusionkit.inference.timeline.records import Timeline


def make_subtitles(timeline: Timeline) -> str:
    """Makes subtitles: a cue from an answer to the next one, of several that say the same one cue.

    Of a class it says the name with the mean probability, of labels those that are on, of numbers three digits. Beside
    classes or labels, which say when a cue ends, numbers are means over it.

    Source:
        W3C, WebVTT: The Web Video Text Tracks Format, https://www.w3.org/TR/webvtt1/
    """
    cues = list[tuple[float, float, tuple[str, ...], list[Answer]]]()
    for position, instant in enumerate(timeline):
        stop = timeline[position + 1].time if position + 1 < len(timeline) else instant.time + timeline.every
        if instant.answer.failure:
            continue
        said = _name_all(instant.answer)
        if cues and cues[-1][1] == instant.time and cues[-1][2] == said:
            start, _, _, answers = cues.pop()
            cues.append((start, stop, said, [*answers, instant.answer]))
        else:
            cues.append((instant.time, stop, said, [instant.answer]))
    texts = [
        f"{format_time(start)} --> {format_time(stop)}\n{_describe(answers, len(timeline.targets) > 1)}\n"
        for start, stop, _, answers in cues
    ]
    return "\n".join(["WEBVTT\n", *texts])


def format_time(seconds: float) -> str:
    """Formats seconds as WebVTT does.

    Example:
        >>> format_time(3725.5)
        '01:02:05.500'
    """
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def describe_answer(answer: TargetAnswer, probability: float | None = None) -> str:
    """Describes an answer in a few words: ``happy 83 %``, labels, or numbers."""
    said = answer.prediction
    if isinstance(said, str):
        share = answer.probabilities[said] if probability is None else probability
        return f"{said} {100 * share:.0f} %"
    values = said if isinstance(said, tuple) else (said,)
    return ", ".join(value if isinstance(value, str) else _write_number(value) for value in values) or "none"


def _write_number(value: float) -> str:
    """Writes a number with three digits, and one of up to a million without an exponent."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _name_all(answer: Answer) -> tuple[str, ...]:
    """Names what an answer says: its classes and labels, or the numbers where it has no others."""
    targets = answer.targets.values()
    named = [each for each in targets if not _read_numbers(each)] or targets
    return tuple(each.prediction if isinstance(each.prediction, str) else describe_answer(each) for each in named)


def _read_numbers(answer: TargetAnswer) -> list[float]:
    """Reads the numbers of an answer; none of classes and labels."""
    values = answer.prediction if isinstance(answer.prediction, tuple) else (answer.prediction,)
    return [] if answer.probabilities else [value for value in values if not isinstance(value, str)]


def _describe(answers: list[Answer], several: bool) -> str:
    lines = []
    for target in answers[0].targets:
        text = _describe_all([each.targets[target] for each in answers])
        lines.append(_escape(f"{target}: {text}" if several else text))
    return "\n".join(lines)


def _describe_all(answers: Sequence[TargetAnswer]) -> str:
    """Describes answers of one cue to one target: the same class with its mean probability, or the mean numbers."""
    first = answers[0]
    if isinstance(first.prediction, str):
        return describe_answer(first, fmean(each.probabilities[first.prediction] for each in answers))
    if not _read_numbers(first):
        return describe_answer(first)
    return describe_answer(TargetAnswer(tuple(map(fmean, zip(*map(_read_numbers, answers), strict=True)))))


def _escape(text: str) -> str:
    """Escapes what has a meaning in cues; an arrow would end the text, and so would an empty line."""
    plain = " ".join(text.split()) or "-"
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
