"""Options of the commands that use a trained network: which networks of an experiment, and which of their branches."""

from __future__ import annotations

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
