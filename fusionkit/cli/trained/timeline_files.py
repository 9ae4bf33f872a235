"""The options of commands over time, and the files that a timeline is written to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

EVERY, WINDOW = 0.2, 3.0
"""Seconds from one answer to the next, and of each, where none are given."""

EveryOption = Annotated[float, typer.Option("--every", metavar="SECONDS", help="Seconds from one answer to the next.")]
WindowOption = Annotated[float, typer.Option("--window", metavar="SECONDS", help="Seconds that each answer is of.")]
FigureOption = Annotated[
    Path | None, typer.Option("--figure", metavar="FILE", help="Receives a figure: .png, .svg or .pdf.")
]
SubtitlesOption = Annotated[Path | None, typer.Option("--vtt", metavar="FILE", help="Receives subtitles: .vtt.")]
OverlayOption = Annotated[
    Path | None,
    typer.Option("--overlay", metavar="FILE", help="Receives the film with the answers drawn beside: .mp4."),
]


@dataclass(frozen=True)
class TimelineFiles:
    """The files that a timeline is written to; None for none.

    Args:
        out: A table, ``.csv``, ``.jsonl`` or ``.parquet``.
        figure: A figure, ``.png``, ``.svg`` or ``.pdf``.
        vtt: Subtitles, ``.vtt``.
        overlay: A film, ``.mp4``, ``.mov`` or ``.mkv``.
        overwrite: Whether files that are there are replaced.
    """

    out: Path | None = None
    figure: Path | None = None
    vtt: Path | None = None
    overlay: Path | None = None
    overwrite: bool = False

    def check(self) -> None:
        """Refuses files that cannot be written, before anything is computed.

        Raises:
            RunError: One has another ending, lies in no folder, or is there already.
        """
        from fusionkit.errors import RunError
        from fusionkit.inference.answer_file import check_answer_path
        from fusionkit.inference.timeline.overlay import check_overlay_path
        from fusionkit.report.figures.timeline import check_figure_path

        checks: tuple[tuple[Path | None, Callable[[Path], None]], ...] = (
            (self.out, check_answer_path),
            (self.figure, check_figure_path),
            (self.vtt, _check_subtitles_path),
            (self.overlay, check_overlay_path),
        )
        for path, check in checks:
            if path is None:
                continue
            check(path)
            if not path.parent.is_dir():
                raise RunError(f"{path}: there is no folder {path.parent}; make it first")
            if path.exists() and not self.overwrite:
                raise RunError(f"{path}: exists; give --overwrite, or another file")


def _check_subtitles_path(path: Path) -> None:
    from fusionkit.errors import RunError

    if path.suffix.lower() != ".vtt":
        raise RunError(f"{path}: subtitles end in .vtt")
