"""The command that exports a trained network, and how its proof is printed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    JsonOption,
    OutOption,
    TrustOption,
    print_json,
    print_paragraph,
    print_table,
    write_examples,
)
from fusionkit.cli.trained.choice import BranchOption, FoldOption, SeedOption, VariantOption

if TYPE_CHECKING:
    from fusionkit.storage.records.export import Difference, ExportCard


class Goal(StrEnum):
    """The format of an export."""

    ONNX = "onnx"
    TORCH = "torch"


class Weights(StrEnum):
    """A kind of quantized weights."""

    INT8 = "int8"


EXAMPLES = write_examples(
    "export runs/first --out exported",
    "export runs/first --out exported --quantize int8",
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(say_when_stopped(goes_on=False)(export))


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run, or of an experiment.")],
    out: OutOption,
    to: Annotated[Goal, typer.Option("--to", help="A graph of ONNX, or a program of torch.export.")] = Goal.ONNX,
    quantize: Annotated[
        Weights | None, typer.Option("--quantize", help="Write a graph with weights of 8 bits as well; ONNX only.")
    ] = None,
    *,
    variant: VariantOption = None,
    fold: FoldOption = None,
    seed: SeedOption = None,
    branch: BranchOption = None,
    plugins: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export a finished run to files that run without fusionkit, and prove that they answer as the network does.

    The folder appears only if they do. Networks of several folds and seeds of an experiment become one, which answers
    by their mean.
    """
    from fusionkit.config.trust import allow
    from fusionkit.data.readers.files import expand_path
    from fusionkit.errors import ExportError
    from fusionkit.inference.export import export_onnx, export_torch
    from fusionkit.inference.export.packages import require_onnx
    from fusionkit.inference.export.run import open_network
    from fusionkit.inference.trained import find_runs

    if quantize and to is Goal.TORCH:
        raise ExportError("--quantize is for graphs of ONNX; leave it out, or take --to onnx")
    if to is Goal.ONNX:
        require_onnx()  # before anything is read that takes time
    allow(*(plugins or ()))
    runs, own = find_runs(expand_path(run), variant, fold, seed)
    network = open_network(runs, branch or own)
    if to is Goal.ONNX:
        card = export_onnx(network, out, quantized="int8" if quantize else None)
    else:
        card = export_torch(network, out)
    if as_json:
        print_json(card.plain())
    else:
        _print_card(card, out)


def _print_card(card: ExportCard, out: Path) -> None:
    columns = ["answer", *(heading for proof in card.proofs for heading in (proof.file, "relative"))]
    rows = [
        [name, *(cell for proof in card.proofs for cell in _show_difference(proof.differences[name]))]
        for name in card.proofs[0].differences
    ]
    print_table("Largest differences from the network", columns, [rows], right=range(1, len(columns)))
    proof = card.proofs[0]
    batches = ", ".join(map(str, proof.batch_sizes))
    subsets = (
        "every subset" if proof.subsets == proof.all_subsets else f"{proof.subsets} of {proof.all_subsets} subsets"
    )
    print_paragraph(
        f"Compared on {proof.samples} samples: {subsets} of the modalities, batches of {batches}, five lengths; "
        f"elements {proof.elements if proof.elements != 'noise' else 'are noise'}."
    )
    if card.quantization is not None:
        of = card.quantization
        print_paragraph(
            f"Weights of 8 bits: {of.bytes_quantized / 1e6:.2f} MB instead of {of.bytes_exact / 1e6:.2f} MB, "
            f"{of.speed_ratio:.2f} times the time. {of.note}"
        )
        for target, metrics in of.metrics.items():
            pairs = [
                f"{name} {_show(metrics.exact[name])} -> {_show(metrics.quantized[name])}" for name in metrics.exact
            ]
            print_paragraph(f"{target}, {of.samples} test samples: {', '.join(pairs)}.")
    for note in card.notes:
        print_paragraph(f"Note: {note}")
    typer.echo(f"Everything is in: {out}")


def _show_difference(difference: Difference) -> tuple[str, str]:
    return f"{difference.largest:.1e}", f"{difference.relative:.1e}"


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
