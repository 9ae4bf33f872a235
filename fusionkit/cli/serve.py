"""The command that puts a trained network behind HTTP and a web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.terminal.output import DeviceOption, TrustOption

PACKAGES = ("fastapi", "starlette", "uvicorn", "httptools", "websockets", "python_multipart")
"""What the extra ``serve`` installs."""


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve)


def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or the folder of an experiment.")],
    *,
    host: Annotated[str, typer.Option(help="The address to listen on; others reach 0.0.0.0.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The token that clients show; or set FUSIONKIT_TOKEN.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--name", metavar="HOST", help="A name that clients know it by; repeatable.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate of TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = None,
    variant: Annotated[str | None, typer.Option(help="Which variant of an experiment.")] = None,
    fold: Annotated[str | None, typer.Option(help="Which fold of it; all together when left out.")] = None,
    seed: Annotated[int | None, typer.Option(help="Which seed of it; all together when left out.")] = None,
    branch: Annotated[str | None, typer.Option(help="Which trained branch answers.")] = None,
    max_megabytes: Annotated[float, typer.Option(min=0.001, help="The largest body of a request.")] = 64.0,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="The longest film, sound or signal.")] = 120.0,
    max_pixels: Annotated[int, typer.Option(min=1, help="Pixels of an image, and of a frame of a film.")] = 8_300_000,
    max_requests: Annotated[int, typer.Option(min=1, help="Requests that are worked on at a time.")] = 128,
    max_waiting: Annotated[int, typer.Option(min=1, help="Samples that may wait for the network.")] = 512,
    max_streams: Annotated[int, typer.Option(min=0, help="Streams that are open at a time.")] = 8,
    request_seconds: Annotated[float, typer.Option(min=0.1, help="The longest work on a request.")] = 60.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples that the network is given at once.")] = 32,
    batch_milliseconds: Annotated[
        float, typer.Option(min=0.0, max=1000.0, help="The longest that a sample waits for others.")
    ] = 3.0,
    plugins: TrustOption = None,
    device: DeviceOption = None,
) -> None:
    """Serve a trained network: POST /predict, POST /timeline, a WebSocket at /stream, and a page.

    The page at / shows what the network says of a film, a file, or camera and microphone. A token is needed unless
    the server listens on this machine alone. SIGTERM and Ctrl-C finish what was taken.
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
