"""The command that shares a trained network: a folder for others, or a repository of a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import JsonOption, TrustOption, print_json, print_paragraph, write_examples
from fusionkit.cli.trained.choice import BranchOption, FoldOption, SeedOption, VariantOption

EXAMPLES = write_examples(
    "share runs/first --out shared",
    "share runs/first --to hf://owner/name",
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(say_when_stopped(goes_on=False)(share))


def share(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or of an experiment.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="A new folder that receives the network.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="HF://OWNER/NAME", help="A repository of the Hugging Face hub.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="A repository that is made is for everybody; else only for its owner.")
    ] = False,
    variant: VariantOption = None,
    fold: FoldOption = None,
    seed: SeedOption = None,
    branch: BranchOption = None,
    plugins: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Share a trained network, without anything of this machine.

    Weights, recipe, figures and calibration, and a README whose licence you fill in. Paths become names of files;
    logs, predictions, commands and names of groups stay here.
    """
    from fusionkit.errors import FusionKitError
    from fusionkit.inference.load import load
    from fusionkit.inference.publication.hub import parse_address

    if (out is None) == (to is None):
        raise FusionKitError("share: give either --out FOLDER, or --to hf://owner/name")
    if to is not None:
        parse_address(to)
    predictor = load(
        run, variant=variant, fold=fold, seed=seed, branch=branch, device="cpu", plugins=tuple(plugins or ())
    )
    if out is not None:
        predictor.save_pretrained(out)
        where = str(out)
    else:
        where = predictor.push_to_hub(str(to), public=public)
    if as_json:
        print_json({"where": where, "networks": len(predictor.networks), "branch": predictor.main})
        return
    typer.echo(where)
    print_paragraph("Read its README.md, and fill in the licence of weights and data, before you give it to others.")
