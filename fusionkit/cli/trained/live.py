"""The command that answers to a camera, a microphone and sensors while they run."""

from __future__ import annotations

import io
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import DeviceOption, JsonOption, TrustOption, write_examples
from fusionkit.cli.trained.choice import BranchOption, FoldOption, SeedOption, VariantOption
from fusionkit.cli.trained.timeline_files import EVERY, WINDOW, EveryOption, WindowOption
from fusionkit.cli.trained.view import open_view

if TYPE_CHECKING:
    from fusionkit.data.live.devices import Clock, Device, Kind
    from fusionkit.data.live.mailbox import Reading
    from fusionkit.inference.predictor import Predictor
    from fusionkit.inference.timeline.session import LiveSession

NO_ANSWER = 1

_MOST_WAITING = {"camera": 30, "microphone": 500, "sensors": 10_000}
"""Signals that wait at most: a second of frames, ten of sound."""

_SOUND_RATE = 4000
"""Samples per second from which on numbers without an axis are a sound, which a microphone gives."""


EXAMPLES = write_examples(
    "live runs/first",
    "live runs/first --camera /dev/video2 --microphone none",
    "live runs/sensors --seconds 60 --json",
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(live)


def live(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, an experiment or an export.")],
    *,
    camera: Annotated[
        str | None, typer.Option("--camera", metavar="NAME", help="A camera, film or address; 'none' for none.")
    ] = None,
    microphone: Annotated[
        str | None, typer.Option("--microphone", metavar="NAME", help="A microphone, file or address; 'none' for none.")
    ] = None,
    variant: VariantOption = None,
    fold: FoldOption = None,
    seed: SeedOption = None,
    branch: BranchOption = None,
    every: EveryOption = EVERY,
    window: WindowOption = WINDOW,
    seconds: Annotated[
        float | None, typer.Option("--seconds", metavar="SECONDS", min=0.0, help="Stop after so long.")
    ] = None,
    plugins: TrustOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict live from a camera, a microphone and sensors.

    Sensors are lines of JSON on standard input, such as {"t": 0.1, "motion": [0.2, 9.8, 0.1]}. It ends with Ctrl-C,
    or when all of its sources have ended. With --json every answer is a line.
    """
    from fusionkit.data.live.devices import Clock
    from fusionkit.inference.load import load
    from fusionkit.inference.timeline.session import LiveSession
    from fusionkit.inference.timeline.windows import check_seconds

    check_seconds("--every", every)
    check_seconds("--window", window)
    with say_when_stopped(goes_on=False):
        predictor = load(run, variant=variant, fold=fold, seed=seed, branch=branch, plugins=tuple(plugins or ()))
        devices = open_devices(predictor, camera, microphone)
        aspect = next((each.pixel_aspect for each in devices if each.kind == "camera"), 1)
        rates = {each.modality: each.rate for each in devices}
        stream = predictor.stream(window, rates=rates, pixel_aspect=aspect)
        clock = Clock()
        with open_view(as_json=as_json) as view:
            session = LiveSession(stream, every, clock, view.tell)
            readings = list_readings(predictor, devices, clock, session)
            try:
                for instant in session.run(readings, seconds):
                    view.show(instant, stream.counts, session.dropped)
            except KeyboardInterrupt:  # the usual end
                session.stop.set()
    if not as_json:
        lost = "".join(f", {count:,} dropped of {name}" for name, count in session.dropped.items())
        passed = f", {session.problems:,} passed over" if session.problems else ""
        typer.echo(f"{session.answers:,} answers in {clock.now():.1f} s{lost}{passed}")
    if not session.answers:
        typer.echo("fusionkit: no source gave anything to answer to", err=True)
        raise typer.Exit(NO_ANSWER)


def open_devices(predictor: Predictor, camera: str | None, microphone: str | None) -> list[Device]:
    """Opens the devices that a network takes, those of the system where none are named.

    Raises:
        DataError: One cannot be opened.
        FusionKitError: One is named that the network does not take.
    """
    from fusionkit.data.live.devices import NONE, Device, name_default
    from fusionkit.errors import FusionKitError

    modalities = predictor.inputs.modalities
    picture = "video" if predictor.inputs.films and "video" in modalities else None
    sound = next((name for name, of in modalities.items() if not of.shape and (of.rate or 0) >= _SOUND_RATE), None)
    asked: list[tuple[Kind, str | None, str | None]] = [
        ("camera", camera, picture),
        ("microphone", microphone, sound),
    ]
    opened = []
    for kind, name, modality in asked:
        if modality is None and name not in (None, NONE):
            known = ", ".join(modalities)
            raise FusionKitError(f"--{kind}: the network takes none; its modalities are {known}")
        if modality is not None and name != NONE:
            opened.append(Device(kind, name_default(kind) if name is None else name, modality))
    return opened


def list_readings(predictor: Predictor, devices: list[Device], clock: Clock, session: LiveSession) -> list[Reading]:
    """Lists the sources: devices, and standard input for modalities that none of them gives.

    Raises:
        FusionKitError: There is none.
    """
    from fusionkit.data.live.lines import read_lines
    from fusionkit.data.live.mailbox import Reading
    from fusionkit.errors import FusionKitError

    readings = [
        Reading(f"{each.kind} {each.name}", partial(each.read, clock, session.stop), _MOST_WAITING[each.kind])
        for each in devices
    ]
    given = {each.modality for each in devices}
    sensors = [name for name in predictor.modalities if name not in given]
    piped = sys.stdin is not None and not sys.stdin.isatty()
    if sensors and piped and not predictor.inputs.films:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # a line of odd bytes is a wrong line

        def tell(sentence: str) -> None:
            session.tell_problem("standard input", sentence)

        stated = {name: predictor.inputs.modalities[name] for name in sensors}
        read = partial(read_lines, sys.stdin, stated, clock, session.stop, tell)
        readings.append(Reading("standard input", read, _MOST_WAITING["sensors"]))
    if not readings:
        if predictor.inputs.films:
            raise FusionKitError("there is no source; name a --camera or a --microphone")
        example = f'{{"t": 0.1, "{sensors[0]}": [...]}}'
        raise FusionKitError(f"there is no source; pipe lines such as {example} into the command")
    return readings
