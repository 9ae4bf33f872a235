"""Options of the commands that use a trained network: networks of an experiment, branches, and labelled tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

VariantOption = Annotated[str | None, typer.Option("--variant", help="Which variant of an experiment answers.")]
FoldOption = Annotated[
    str | None, typer.Option("--fold", help="Which fold of it; the networks of all folds answer together if not.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Which seed of it; those of all seeds if not.")]
BranchOption = Annotated[
    str | None, typer.Option("--branch", help="Which branch answers: fused, a modality, ensemble, 'ensemble (log)'.")
]
TableGroupOption = Annotated[
    str | None, typer.Option("--group", metavar="COLUMN", help="With --data, its groups; the training's if not.")
]
TableRootOption = Annotated[
    Path | None,
    typer.Option(
        "--root", metavar="FOLDER", help="With --data, where its relative paths start; its own folder if not."
    ),
]
