"""An experiment that takes seconds: variants of a recipe of two vectors per sample, over folds and seeds."""

from __future__ import annotations

import textwrap
from pathlib import Path

EXPERIMENT = """
schema: 1
recipe: recipe.yaml
variants:
  late fusion: {overrides: [train.strategy=late_fusion]}
  N2: {overrides: [model.fusion=mrpn]}
  motion: {of: late fusion, branch: motion}
seeds: [0, 1]
"""


def recipe_text(*, groups: int = 6, samples: int = 2, folds: int = 3, epochs: int = 2) -> str:
    """The recipe."""
    return f"""
schema: 1
data:
  dataset:
    type: synthetic
    classes: [rest, walk]
    modalities:
      motion: {{features: 3, min_length: 1, max_length: 1}}
      posture: {{features: 2, min_length: 1, max_length: 1}}
    groups: {groups}
    samples: {samples}
  folds: {{type: group_kfold, folds: {folds}}}
model:
  modalities: {{motion: {{}}, posture: {{}}}}
  fusion: concat
  targets: {{label: classification}}
  fused_hidden: 4
train: {{epochs: {epochs}}}
"""


def write_experiment_file(folder: Path, text: str = EXPERIMENT, recipe: str | None = None) -> Path:
    """The file of an experiment, beside its recipe."""
    (folder / "recipe.yaml").write_text(recipe or recipe_text())
    path = folder / "experiment.yaml"
    path.write_text(textwrap.dedent(text))
    return path
