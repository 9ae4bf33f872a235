"""The command that puts a trained network behind HTTP and a web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.terminal.output import DeviceOption, TrustOption, write_examples
from fusionkit.cli.trained.choice import BranchOption, FoldOption, SeedOption, VariantOption
from fusionkit.cli.trained.limits import (
    BatchOption,
    MegabytesOption,
    PatienceOption,
    PixelsOption,
    RequestsOption,
    SecondsOption,
    StreamsOption,
    WaitingOption,
    WorkOption,
)
from fusionkit.cli.trained.timeline_files import WINDOW

PACKAGES = ("fastapi", "starlette", "uvicorn", "httptools", "websockets", "python_multipart")
"""Packages of the extra ``serve``."""


EXAMPLES = write_examples(
    "serve runs/first",
    "serve runs/first --host 0.0.0.0 --token-file token.txt",
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(serve)


def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, an experiment or an export.")],
    *,
    host: Annotated[str, typer.Option(help="The address to listen on; others reach 0.0.0.0.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The token that clients show; or set FUSIONKIT_TOKEN.")
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="HOST", help="A name that clients know it by; may be repeated."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate of TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = None,
    variant: VariantOption = None,
    fold: FoldOption = None,
    seed: SeedOption = None,
    branch: BranchOption = None,
    window: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0.05,
            max=30.0,
            help="Seconds that answers over time are of, unless a client says it.",
        ),
    ] = WINDOW,
    max_megabytes: MegabytesOption = 64.0,
    max_seconds: SecondsOption = 120.0,
    max_pixels: PixelsOption = 8_300_000,
    max_requests: RequestsOption = 128,
    max_waiting: WaitingOption = 512,
    max_streams: StreamsOption = 8,
    request_seconds: WorkOption = 60.0,
    batch_size: BatchOption = 32,
    batch_milliseconds: PatienceOption = 3.0,
    plugins: TrustOption = None,
    device: DeviceOption = None,
) -> None:
    """Serve a trained network over HTTP, and a page that shows what it says.

    Programs use POST /predict, POST /timeline and a WebSocket at /stream; the page at / takes films, files, camera and
    microphone. A token is needed unless the server listens on this machine alone. SIGTERM and Ctrl-C finish what was
    taken.
    """
    import fusionkit
    from fusionkit.errors import FusionKitError

    try:
        from fusionkit.serving.server import serve as run_server
        from fusionkit.serving.settings import Settings, read_token
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        remedy = "install it with `pip install 'fusionkit-multimodal[serve]'`"
        raise FusionKitError(f"fusionkit serve needs the package {error.name}; {remedy}") from None
    settings = Settings(
        host=host,
        port=port,
        token=read_token(token_file),
        names=tuple(names or ()),
        certificate=tls_cert,
        key=tls_key,
        most_bytes=round(max_megabytes * (1 << 20)),
        most_json_bytes=round(min(max_megabytes, 8.0) * (1 << 20)),
        most_seconds=max_seconds,
        most_pixels=max_pixels,
        most_requests=max_requests,
        most_waiting=max_waiting,
        most_streams=max_streams,
        request_seconds=request_seconds,
        batch_size=batch_size,
        batch_seconds=batch_milliseconds / 1000,
        window=window,
    )
    settings.check()
    predictor = fusionkit.load(
        run, variant=variant, fold=fold, seed=seed, branch=branch, device=device, plugins=tuple(plugins or ())
    )

    def say(port: int) -> None:
        address = settings.describe_address(port)
        token = "; clients show the token" if settings.token else ""
        typer.echo(f"serving {run} at {address}{token}; stop it with Ctrl-C")

    counters = run_server(predictor, settings, run, started=say)
    typer.echo(f"stopped; {counters.taken} requests were taken and {counters.answered} answered")
