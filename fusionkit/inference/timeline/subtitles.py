"""Answers over time as subtitles in WebVTT."""

from __future__ import annotations

from collections.abc import Mapping

from fusionkit.inference.answers import Answer, TargetAnswer
from fusionkit.inference.timeline.records import Timeline


def make_subtitles(timeline: Timeline) -> str:
    """Makes subtitles: a cue from an answer to the next one, of several that say the same one cue.

    Of a class it says the name with the mean probability, of labels those that are on, of numbers three digits.

    Source:
        W3C, WebVTT: The Web Video Text Tracks Format, https://www.w3.org/TR/webvtt1/
    """
    cues = list[tuple[float, float, tuple[str, ...], list[Answer]]]()
    for position, instant in enumerate(timeline):
        stop = timeline[position + 1].time if position + 1 < len(timeline) else instant.time + timeline.every
        if instant.answer.failure:
            continue
        said = tuple(_name(answer) for answer in instant.answer.targets.values())
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
    return ", ".join(value if isinstance(value, str) else f"{value:.3g}" for value in values) or "none"


def _name(answer: TargetAnswer) -> str:
    return answer.prediction if isinstance(answer.prediction, str) else describe_answer(answer)


def _describe(answers: list[Answer], several: bool) -> str:
    lines = []
    for target, answer in answers[0].targets.items():
        probability = None
        if isinstance(answer.prediction, str):
            of = [_read_probability(each.targets, target, answer.prediction) for each in answers]
            probability = sum(of) / len(of)
        text = describe_answer(answer, probability)
        lines.append(_escape(f"{target}: {text}" if several else text))
    return "\n".join(lines)


def _read_probability(targets: Mapping[str, TargetAnswer], target: str, label: str) -> float:
    return targets[target].probabilities[label]


def _escape(text: str) -> str:
    """Escapes what has a meaning in cues; an arrow would end the text, and so would an empty line."""
    plain = " ".join(text.split()) or "-"
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
