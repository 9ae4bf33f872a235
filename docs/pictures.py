"""Makes the pictures of README and docs: faces, the network of a recipe, a measured comparison, and the house.

`make pictures`, or `python docs/pictures.py docs/pictures`, writes them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from house import save_house, write_table
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from fusionkit.config.components.specs import FusionSpec
from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import ModelSpec
from fusionkit.config.shipped_recipes import find_recipe
from fusionkit.rendering.films import FilmSettings
from fusionkit.rendering.sheet import draw_contact_sheet
from fusionkit.report.figures.folds import draw_folds
from fusionkit.report.figures.reliability import draw_reliability
from fusionkit.report.figures.style import COLOURS, INK, canvas, save_figure
from fusionkit.storage.records.calibration import Curves
from fusionkit.storage.records.document import load_document
from fusionkit.storage.records.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "rendered_films.json"
CALIBRATED = ROOT / "benchmarks" / "results" / "calibration.json"
COLOURS_OF_MODALITIES = COLOURS[:3]
FUSED = "#5F5F5F"
WIDTH, HEIGHT, STEP = 1.5, 0.62, 1.9


def draw_sheet() -> Image.Image:
    """Two drawn actors, every emotion, one moment."""
    sheet = draw_contact_sheet((1, 4), moments=(0.5,), tile=104, settings=FilmSettings(ambiguity=0.3))
    return sheet.convert("P", palette=Image.Palette.ADAPTIVE, colors=128)


def draw_network(spec: ModelSpec, title: str) -> Figure:
    """The network of a recipe, as the model wires it: a row per modality, then fusion and scores.

    Args:
        spec: The model of the recipe.
        title: What it is called.
    """
    rows = {name: row for row, name in enumerate(spec.modalities)}
    of = {name: [each.type for each in modality.encoder] for name, modality in spec.modalities.items()}
    longest = max(len(chain) for chain in of.values())
    bent = spec.fusion.type == "mrpn"
    figure, (axes,) = canvas(1.05 * (longest + 5 + bent), 0.95 * len(rows) + 1.3)
    axes.set_axis_off()
    middle = -(len(rows) - 1) / 2 * 1.5
    fusion_at = STEP * (longest + 2 + bent)
    within = FusionSpec.model_validate(spec.fusion.options.get("of", "concat")).type if bent else spec.fusion.type
    for name, row in rows.items():
        y, colour = -1.5 * row, COLOURS_OF_MODALITIES[row % len(COLOURS_OF_MODALITIES)]
        chain = [*of[name], spec.modalities[name].aggregator.type]
        places = [STEP * place for place in range(longest - len(of[name]), longest + 1)]
        axes.text(places[0] - WIDTH / 2 - 0.25, y, name, ha="right", va="center", color=colour, weight="bold")
        for place, what in zip(places, chain, strict=True):
            _box(axes, place, y, what, colour)
            if place != places[-1]:
                _arrow(axes, (place + WIDTH / 2, y), (place + STEP - WIDTH / 2, y), colour)
        end = places[-1]
        if spec.unimodal_heads:
            _box(axes, end + 0.35, y - 0.78, f"its own loss: {', '.join(spec.targets)}", colour, filled=False, wide=2.6)
            _arrow(axes, (end, y - HEIGHT / 2), (end, y - 0.78 + HEIGHT / 2.6), colour)
        if bent:
            _box(axes, end + STEP, y, "+ residual\nperceptron", colour)
            _arrow(axes, (end + WIDTH / 2, y), (end + STEP - WIDTH / 2, y), colour)
            end += STEP
        _arrow(axes, (end + WIDTH / 2, y), (fusion_at - WIDTH / 2, middle), colour)
    _box(axes, fusion_at, middle, within, FUSED)
    for row, target in enumerate(spec.targets):
        y = middle - 0.9 * (row - (len(spec.targets) - 1) / 2)
        _box(axes, fusion_at + STEP, y, f"scores of\n{target}", FUSED)
        _arrow(axes, (fusion_at + WIDTH / 2, middle), (fusion_at + STEP - WIDTH / 2, y), FUSED)
    axes.set_xlim(-WIDTH / 2 - 1.2, fusion_at + STEP + WIDTH / 2 + 0.1)
    axes.set_ylim(-1.5 * (len(rows) - 1) - 1.05, 0.4)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    return figure


def _box(axes: Axes, x: float, y: float, text: str, colour: str, *, filled: bool = True, wide: float = WIDTH) -> None:
    height = HEIGHT if filled else 0.42
    axes.add_patch(
        FancyBboxPatch(
            (x - wide / 2, y - height / 2),
            wide,
            height,
            boxstyle="round,pad=0.0,rounding_size=0.12",
            facecolor=f"{colour}26" if filled else "white",
            edgecolor=colour,
            linestyle="-" if filled else (0, (3, 2)),
            linewidth=1.2,
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=8 if filled else 7, color=INK)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=colour, linewidth=1.1))


def load_curves(case: str) -> Curves:
    """The curves of a case of `benchmarks/calibration.py`, over all of its runs."""
    return Curves.model_validate(json.loads(CALIBRATED.read_text(encoding="utf-8"))["cases"][case]["curves"])


def main(folder: Path) -> list[Path]:
    """Writes all pictures and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    sheet = folder / "faces.png"
    draw_sheet().save(sheet, optimize=True)
    films = load_recipe(find_recipe("quickstart/films"))
    title = "The network of quickstart/films (N2): dashed losses are there in training only"
    return [
        sheet,
        save_figure(draw_network(films.model, title), folder / "network.png"),
        save_figure(draw_folds(load_document(Results, RESULTS)), folder / "folds.png"),
        save_figure(draw_reliability({"emotion": load_curves("action_units")}), folder / "reliability.png"),
        save_house(folder / "house.svg"),
        write_table(ROOT / "CONTRIBUTING.md"),
    ]


if __name__ == "__main__":
    for path in main(Path(sys.argv[1])):
        print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")
