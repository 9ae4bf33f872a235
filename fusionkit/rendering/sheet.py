"""A sheet of still pictures: emotions side by side, actor by actor, moment by moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fusionkit.rendering.emotions import EMOTIONS
from fusionkit.rendering.films import FilmSettings
from fusionkit.rendering.layouts import make_ravdess_scene
from fusionkit.rendering.take import Take

if TYPE_CHECKING:
    from PIL.Image import Image

_MARGIN = 4
_HEADER = 22


def draw_contact_sheet(
    actors: Sequence[int] = (1, 2, 3, 4),
    *,
    emotions: Sequence[str] = EMOTIONS,
    moments: Sequence[float] = (0.15, 0.5, 0.85),
    intensity: str = "strong",
    tile: int = 112,
    settings: FilmSettings | None = None,
) -> Image:
    """Draws one column per emotion; per actor one row for each moment of the clip.

    The clips are the first repetition of RAVDESS's first statement, as `render_ravdess` would render them with the
    same settings.

    Args:
        actors: RAVDESS numbers; odd ones are male.
        emotions: Some of the eight.
        moments: Where in the clip, 0 (begin) to 1 (end).
        intensity: ``normal`` or ``strong``; neutral is always normal.
        tile: Side of a picture, pixels; pictures are cut to squares.
        settings: What the films share; ambiguity 0 shows the prototypes.

    Example:
        >>> draw_contact_sheet([1], emotions=["happy"], moments=[0.5], tile=64).size
        (100, 94)
    """
    from PIL import Image, ImageDraw, ImageFont

    settings = settings or FilmSettings()
    label = 28
    step = tile + _MARGIN
    size = (label + step * len(emotions) + _MARGIN, _HEADER + (step * len(moments) + _MARGIN) * len(actors))
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for column, emotion in enumerate(emotions):
        left = label + column * step
        draw.text((left + tile / 2, _HEADER / 2), emotion, fill=(20, 20, 20), font=font, anchor="mm")
    for row, actor in enumerate(actors):
        top = _HEADER + row * (step * len(moments) + _MARGIN)
        draw.text((label / 2, top + step * len(moments) / 2), f"{actor:02}", fill=(20, 20, 20), font=font, anchor="mm")
        for column, emotion in enumerate(emotions):
            strong = intensity == "strong" and emotion != "neutral"
            take = make_ravdess_scene(actor, emotion, 2 if strong else 1, 1, 1).play(settings)
            for place, picture in enumerate(_draw_pictures(take, moments, tile)):
                sheet.paste(picture, (label + column * step, top + place * step))
    return sheet


def _draw_pictures(take: Take, moments: Sequence[float], tile: int) -> Iterator[Image]:
    """Yields the take at its moments, cut to squares."""
    from PIL import Image

    camera, count = take.make_camera(), len(take.poses)
    for moment in moments:
        index = min(count - 1, int(moment * count))
        frame = camera.take(take.poses[index], take.motions[index])
        height, width = frame.shape[:2]
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        square = Image.fromarray(frame[top : top + side, left : left + side])
        yield square.resize((tile, tile), Image.Resampling.LANCZOS)
