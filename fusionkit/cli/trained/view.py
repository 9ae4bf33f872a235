"""Live answers in the terminal: bars where it is one, lines where it is not, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer

from fusionkit.cli.terminal.output import open_console
from fusionkit.cli.trained.answer_table import describe_prediction

if TYPE_CHECKING:
    from rich.console import Console

    from fusionkit.inference.timeline.records import Instant

_LABEL, _SHARE, _MOST_ROWS = 16, 6, 20
"""Columns of a class's name and of its per cent, and classes that are shown."""


class View(Protocol):
    """A place where live answers are shown."""

    def show(self, instant: Instant, counts: Mapping[str, int], dropped: Mapping[str, int]) -> None:
        """Shows an answer, what it is of, and what was dropped."""

    def tell(self, sentence: str) -> None:
        """Tells what is wrong."""


@contextmanager
def open_view(*, as_json: bool) -> Iterator[View]:
    """Opens the view that fits the output."""
    console = open_console()
    if as_json or not console.is_terminal:
        yield _Lines(as_json=as_json)
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False, transient=False) as live:
        yield _Bars(console, live)


class _Lines:
    """A line for each answer."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def show(self, instant: Instant, counts: Mapping[str, int], dropped: Mapping[str, int]) -> None:
        answer = instant.answer
        if self._as_json:
            plain = {"time": instant.time, **answer.plain()}
            typer.echo(json.dumps(plain, ensure_ascii=False, allow_nan=False))
        else:
            said = ", ".join(describe_prediction(answer, target) for target in answer.targets) or answer.failure
            typer.echo(f"{instant.time:8.2f} s  {said}  ({', '.join(answer.present) or 'nothing'})")
        sys.stdout.flush()

    def tell(self, sentence: str) -> None:
        typer.echo(f"fusionkit: {sentence}", err=True)


class _Bars:
    """A picture that stays in its place."""

    def __init__(self, console: Console, live: Any) -> None:
        self._console, self._live = console, live

    def show(self, instant: Instant, counts: Mapping[str, int], dropped: Mapping[str, int]) -> None:
        self._live.update(draw_bars(instant, counts, dropped, min(80, self._console.width)), refresh=True)

    def tell(self, sentence: str) -> None:
        self._console.print(f"fusionkit: {sentence}", markup=False)


def draw_bars(instant: Instant, counts: Mapping[str, int], dropped: Mapping[str, int], width: int = 80) -> Any:
    """Draws an answer: the winner and a bar per class for each target, and what it is of.

    Args:
        instant: The answer.
        counts: Elements of the window, by modality.
        dropped: Signals that were dropped, by source.
        width: Columns.
    """
    from rich.text import Text

    answer, lines = instant.answer, list[Text]()
    for target, of in answer.targets.items():
        lines.append(Text(f"{target}: {describe_prediction(answer, target)}", style="bold"))
        winner = max(of.probabilities, key=lambda label: of.probabilities[label], default="")
        shown = sorted(of.probabilities, key=lambda label: of.probabilities[label], reverse=True)[:_MOST_ROWS]
        for label, share in of.probabilities.items():
            if label not in shown:
                continue
            room = max(4, width - _LABEL - _SHARE - 2)
            filled = round(share * room)
            style = "cyan" if label == winner else "default"
            row = Text(f"{label[:_LABEL]:<{_LABEL}} ")
            row.append("\u2588" * filled, style=style)
            row.append("\u2591" * (room - filled), style="dim")
            row.append(f"{100 * share:{_SHARE - 1}.0f} %"[-_SHARE:])
            lines.append(row)
    if answer.failure:
        lines.append(Text(f"no answer: {answer.failure}", style="yellow"))
    held = ", ".join(f"{name} {count:,}" if count else f"{name} missing" for name, count in counts.items())
    lost = "".join(f"; {name}: {count:,} dropped" for name, count in dropped.items())
    lines.append(Text(f"{instant.time:.1f} s: {held}{lost}", style="dim"))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines)
