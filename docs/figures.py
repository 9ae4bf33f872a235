"""Draws what augmentation does to a clip, on a rendered one: like Figs. 8 and 9 of the paper, and two more.

Each figure shows what the components of a recipe compute, not a sketch of it; `python docs/figures.py FOLDER` writes
them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

import fusionkit
from fusionkit.config.components.registry import ENCODERS, TRANSFORMS
from fusionkit.nn.jagged import Jagged
from fusionkit.rendering.films import FilmSettings
from fusionkit.rendering.layouts import make_ravdess_scene
from fusionkit.rendering.take import Take
from fusionkit.report.figures.style import COLOURS, FAINT, INK, canvas, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAME_RATE, SOUND_RATE = 25, 16_000
FACE, VOICE = COLOURS[:2]


@dataclass(frozen=True)
class RenderedClip:
    """A clip as it is prepared: frames ``(time, 3, height, width)`` in bytes, and the wave in -1..1."""

    frames: Tensor
    wave: Tensor

    @property
    def seconds(self) -> float:
        return len(self.wave) / SOUND_RATE


def perform(actor: int, emotion: str) -> Take:
    """About three seconds of a drawn actor of RAVDESS."""
    size = (144, 144)
    settings = FilmSettings(size, head=0.36, frame_rate=FRAME_RATE, seconds=3.0, sound_rate=SOUND_RATE, ambiguity=0.3)
    return make_ravdess_scene(actor, emotion, 2, 1, 1).play(settings)


@cache
def happy_clip() -> RenderedClip:
    take = perform(4, "happy")
    frames = torch.from_numpy(np.stack(list(take.draw_frames()))).permute(0, 3, 1, 2).contiguous()
    wave = voice_of(take)
    both = min(len(frames) / FRAME_RATE, len(wave) / SOUND_RATE)
    return RenderedClip(frames[: round(both * FRAME_RATE)], wave[: round(both * SOUND_RATE)])


def voice_of(take: Take) -> Tensor:
    return torch.as_tensor(take.speech.wave, dtype=torch.float32)


def draw_figures(folder: Path) -> None:
    """Writes every figure that is not there, or older than what it shows."""
    folder.mkdir(parents=True, exist_ok=True)
    package = Path(fusionkit.__file__).parent
    sources = [Path(__file__), *package.glob("transforms/*.py"), *package.glob("rendering/*.py")]
    changed = max(source.stat().st_mtime for source in sources)
    for name, draw in DRAWINGS.items():
        path = folder / f"{name}.png"
        if not path.exists() or path.stat().st_mtime < changed:
            draw(path)


def draw_spatial(path: Path) -> None:
    """Frames of one clip: as they are, after one draw for all of them, after another, and after a draw for each."""
    clip = happy_clip()
    shown = np.linspace(0, len(clip.frames) - 1, 8).round().astype(int).tolist()
    options = {"rotation": 20.0, "scale": 0.15, "translation": 0.1, "brightness": 0.15, "contrast": 0.3}
    rows = [("as prepared", clip.frames[shown])]
    for label, per_frame, seed in (("one draw", False, 1), ("another epoch", False, 0), ("a draw per frame", True, 3)):
        spatial = TRANSFORMS.build("spatial", tuple(clip.frames.shape[1:]), FRAME_RATE, per_frame=per_frame, **options)
        drawn = torch.Generator().manual_seed(seed)
        rows.append((label, spatial(clip.frames, drawn, training=True)[shown]))
    figure, axes = canvas(10.0, 5.4, len(rows))
    for each in axes:
        each.remove()
    grid = figure.subplots(len(rows), len(shown), squeeze=False)
    for panels, (label, frames) in zip(grid, rows, strict=True):
        for panel, frame in zip(panels, frames, strict=True):
            panel.imshow(frame.permute(1, 2, 0).numpy(), interpolation="lanczos")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
        panels[0].set_ylabel(label, color=INK, fontsize=10)
    for panel, index in zip(grid[0], shown, strict=True):
        panel.set_title(f"{index / FRAME_RATE:.1f} s", color=INK, fontsize=10)
    save_figure(figure, path)


def draw_time_slices(path: Path) -> None:
    """What three epochs take of a clip: face and voice independently, and together."""
    clip = happy_clip()
    figure, axes = canvas(10.0, 5.6, 6, columns=2)
    for column, (title, together) in enumerate((("independently", False), ("together: true", True))):
        for epoch in range(3):
            panel = axes[2 * epoch + column]
            _draw_clip(panel, clip, _slices(clip, together=together, epoch=epoch))
            panel.set_ylabel(f"epoch {epoch + 1}", color=INK, fontsize=10)
            if epoch == 0:
                panel.set_title(title, color=INK, fontsize=11)
            if epoch == 2:
                panel.set_xlabel("seconds", color=INK, fontsize=10)
    save_figure(figure, path)


def _slices(clip: RenderedClip, *, together: bool, epoch: int) -> list[tuple[float, float]]:
    """Begin and end, in seconds, of what `time_slice` takes of the frames and of the wave."""
    taken = []
    for modality, (values, rate) in enumerate(((clip.frames, FRAME_RATE), (clip.wave, SOUND_RATE))):
        slicer = TRANSFORMS.build("time_slice", tuple(values.shape[1:]), float(rate), together=together)
        seed = 30 + epoch if together else 10 * epoch + modality
        result = slicer(torch.arange(len(values)), torch.Generator().manual_seed(seed), training=True)
        taken.append((int(result[0]) / rate, (int(result[-1]) + 1) / rate))
    return taken


def _draw_clip(panel: Axes, clip: RenderedClip, taken: Sequence[tuple[float, float]]) -> None:
    """A strip of frames above the wave; what is not taken is pale."""
    (first, last), heard = taken
    side, count = clip.frames.shape[-1], round(clip.seconds / 0.3)
    width = clip.seconds / count
    margin = side // 6  # the face without what is around it
    for place in range(count):
        frame = clip.frames[int((place + 0.5) * width * FRAME_RATE), :, margin:-margin, margin:-margin]
        left = place * width
        panel.imshow(frame.permute(1, 2, 0).numpy(), extent=(left, left + width, 1.15, 2.65), aspect="auto")
    for left, right in ((0, first), (last, clip.seconds)):
        panel.fill_between([left, right], 1.15, 2.65, color="white", alpha=0.78, linewidth=0)
    panel.fill_between([first, last], 1.15, 2.65, facecolor="none", edgecolor=FACE, linewidth=2.0)
    time = np.arange(len(clip.wave)) / SOUND_RATE
    loudest = float(clip.wave.abs().max())
    inside = (time >= heard[0]) & (time <= heard[1])
    for shown, colour in ((~inside, FAINT), (inside, VOICE)):
        wave = np.where(shown, clip.wave.numpy() / loudest, np.nan)
        panel.plot(time[::4], wave[::4], color=colour, linewidth=0.5)
    panel.fill_between(heard, -1.05, 1.05, facecolor="none", edgecolor=VOICE, linewidth=2.0)
    panel.set(xlim=(-0.02, clip.seconds + 0.02), ylim=(-1.15, 2.75), yticks=[])
    panel.spines["left"].set_visible(False)


def draw_segments(path: Path) -> None:
    """The segments of a second that a wave is cut into: side by side, and overlapping."""
    clip = happy_clip()
    figure, axes = canvas(10.0, 5.0, 3)
    for each in axes:
        each.remove()
    wave, *rows = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [1, 0.7, 2.4]})
    time = np.arange(len(clip.wave)) / SOUND_RATE
    wave.plot(time[::4], clip.wave[::4], color=VOICE, linewidth=0.5)
    wave.set_ylabel("wave", color=INK, fontsize=10)
    for panel, hop, label in zip(rows, (1.0, 0.2), ("without overlap\n(WO)", "overlapping\n(AO)"), strict=True):
        encoder = ENCODERS.build("spectrogram", (), segment_hop_seconds=hop)
        images = encoder(Jagged.from_list([clip.wave])).values[:, 0]
        for place, image in enumerate(images):
            left, row = place * hop, len(images) - 1 - place if hop < 1 else 0
            extent = (left, left + 1.0, row, row + 0.9)
            panel.imshow(image.numpy(), extent=extent, aspect="auto", origin="lower", cmap="magma", vmin=-8, vmax=9)
        panel.set_ylim(-0.1, len(images) if hop < 1 else 1)
        panel.set_ylabel(f"{label}\n{len(images)} segments", color=INK, fontsize=10)
    rows[-1].set_xlabel("seconds", color=INK, fontsize=10)
    for panel in (wave, *rows):
        panel.set(xlim=(-0.02, clip.seconds + 0.02), yticks=[])
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(colors=INK, labelsize=9)
    save_figure(figure, path)


def draw_standardization(path: Path) -> None:
    """A loud and a soft voice, before and after each is brought to mean 0 and standard deviation 1."""
    standardize = TRANSFORMS.build("standardize", (), float(SOUND_RATE))
    voices = [(emotion, voice_of(perform(3, emotion))) for emotion in ("angry", "sad")]
    longest = max(len(wave) for _, wave in voices) / SOUND_RATE
    figure, axes = canvas(10.0, 3.6, 4, columns=2)
    for row, (label, wave) in enumerate(voices):
        after = standardize(wave, torch.Generator(), training=False)
        largest = float(voices[0][1].abs().max())
        for panel, values, limit in zip(axes[2 * row : 2 * row + 2], (wave, after), (largest, 8.0), strict=True):
            panel.plot((np.arange(len(values)) / SOUND_RATE)[::4], values[::4], color=VOICE, linewidth=0.5)
            panel.set(ylim=(-1.05 * limit, 1.05 * limit), xlim=(0, longest))
            deviation = float(values.std(correction=0))
            panel.set_title(f"{label}: standard deviation {deviation:.3g}", color=INK, fontsize=10)
    for panel, label in zip(axes[2:], ("seconds, as recorded", "seconds, standardised"), strict=True):
        panel.set_xlabel(label, color=INK, fontsize=10)
    save_figure(figure, path)


DRAWINGS = {
    "spatial": draw_spatial,
    "time_slices": draw_time_slices,
    "segments": draw_segments,
    "standardization": draw_standardization,
}

if __name__ == "__main__":
    draw_figures(Path(sys.argv[1]))
