"""The options of `fusionkit serve` that limit what clients may ask for."""

from __future__ import annotations

from typing import Annotated

import typer

MegabytesOption = Annotated[float, typer.Option("--max-megabytes", min=0.001, help="The largest body of a request.")]
SecondsOption = Annotated[float, typer.Option("--max-seconds", min=0.1, help="The longest film, sound or signal.")]
PixelsOption = Annotated[int, typer.Option("--max-pixels", min=1, help="Pixels of an image, and of a film's frame.")]
RequestsOption = Annotated[int, typer.Option("--max-requests", min=1, help="Requests that are worked on at a time.")]
WaitingOption = Annotated[int, typer.Option("--max-waiting", min=1, help="Samples that may wait for the network.")]
StreamsOption = Annotated[int, typer.Option("--max-streams", min=0, help="Streams that are open at a time.")]
WorkOption = Annotated[float, typer.Option("--request-seconds", min=0.1, help="The longest work on a request.")]
BatchOption = Annotated[int, typer.Option("--batch-size", min=1, help="Samples that the network is given at once.")]
PatienceOption = Annotated[
    float, typer.Option("--batch-milliseconds", min=0.0, max=1000.0, help="The longest that a sample waits for others.")
]
