"""The service behind the endpoints: bodies are read, samples prepared, and answers computed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request, Response

from fusionkit.data.loading.collation import Sample
from fusionkit.data.recordings import Recording
from fusionkit.errors import FusionKitError
from fusionkit.inference.answers import Answer
from fusionkit.inference.predictor import Predictor
from fusionkit.inference.timeline.records import Timeline
from fusionkit.serving.bodies import join_uploads, read_samples
from fusionkit.serving.counters import Counters
from fusionkit.serving.endpoints import PREDICT, TIMELINE, Options, read_options, read_seconds, refuse_unknown_keys
from fusionkit.serving.engine import Engine
from fusionkit.serving.http.refusals import Refusal, encode, refuse_for, show_names
from fusionkit.serving.http.uploads import list_shown_names, make_private_folder, receive_uploads
from fusionkit.serving.intake import Intake
from fusionkit.serving.settings import Settings

Result = TypeVar("Result")

_SMALL = 1 << 16
"""Bytes of JSON that are read at once, without another thread."""

_DECODERS = 2
"""Threads that decode films and sounds, and as many for streams."""


class Service:
    """Answers of a network to requests."""

    def __init__(self, predictor: Predictor, settings: Settings, counters: Counters) -> None:
        self._predictor, self._settings, self._counters = predictor, settings, counters
        self._intake = Intake(predictor, settings.most_seconds)
        self.engine = Engine(
            predictor,
            counters,
            batch_size=settings.batch_size,
            batch_seconds=settings.batch_seconds,
            most_waiting=settings.most_waiting,
        )

    @contextmanager
    def work(self) -> Iterator[None]:
        """Works until the server stops; then what was taken is finished, and the folder of uploads removed."""
        prefix = "fusionkit-serve-"
        with (
            tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder,
            ThreadPoolExecutor(_DECODERS, "fusionkit decoder") as self._decoders,
            ThreadPoolExecutor(_DECODERS, "fusionkit stream") as self._streams,
        ):
            self._folder = Path(folder)
            self.engine.start()
            try:
                yield
            finally:
                self.engine.stop()

    async def predict(self, request: Request) -> Response:
        """Answers to one sample or several."""
        self.engine.coming += 1
        coming = True

        def hand_in() -> None:
            nonlocal coming
            self.engine.coming -= coming
            coming = False

        try:
            refuse_unknown_keys(request, PREDICT)
            options = read_options(request, self._predictor.modalities)
            self._require_level(options)
            async with self._take(request) as (recordings, alone, names):
                samples = await self._prepare(recordings, options.without)
                hand_in()
                with self._hold(samples):
                    answers = await self._within(self._answer(samples, options))
        finally:
            hand_in()
        plain = [_describe(answer, names) for answer in answers]
        if alone and answers[0].failure:
            raise Refusal(422, plain[0]["failure"])
        return respond(encode(plain[0] if alone else {"answers": plain}))

    async def answer_over_time(self, request: Request) -> Response:
        """Answers to one sample over time."""
        refuse_unknown_keys(request, TIMELINE)
        options = read_options(request, self._predictor.modalities)
        seconds = read_seconds(request, self._settings)
        async with self._take(request) as (recordings, alone, names):
            if not alone:
                raise Refusal(422, "a timeline is of one sample; send an object, not a list")

            def compute() -> dict[str, Any]:
                self._intake.check_length(recordings[0])
                timeline = self._predictor.timeline(
                    recordings[0],
                    every=seconds.every,
                    window=seconds.window,
                    branches=options.branches,
                    without=options.without,
                )
                return {
                    "duration": timeline.duration,
                    "every": timeline.every,
                    "window": timeline.window,
                    "spans": timeline.spans,
                    "notes": [show_names(note, names) for note in timeline.notes],
                    "instants": [{**each.plain(), **_describe_box(timeline, each.time)} for each in timeline],
                }

            try:
                said = await self._within(self._decode(compute))
            except FusionKitError as error:
                raise refuse_for(error, names) from error
        return respond(await self.run_aside(lambda: encode(said)))

    async def run_aside(self, function: Callable[[], Result]) -> Result:
        """Runs a function of a stream in a thread of streams."""
        return await asyncio.get_running_loop().run_in_executor(self._streams, function)

    async def _decode(self, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function)

    @asynccontextmanager
    async def _take(self, request: Request) -> AsyncIterator[tuple[list[Recording], bool, Mapping[str, str]]]:
        """Takes the body of a request: its samples, whether it is one, and the names of its files, see `show_names`."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            with make_private_folder(self._folder) as folder:
                stated = request.headers["content-type"].encode("latin-1")
                uploads = await receive_uploads(stated, request.stream(), folder)
                names = list_shown_names(uploads, folder)
                with self._slot():
                    try:
                        joining = self._decode(lambda: join_uploads(uploads, self._predictor.inputs))
                        recording = await self._within(joining)
                    except FusionKitError as error:
                        raise refuse_for(error, names) from error
                    yield [recording], True, names
        elif kind in ("application/json", ""):
            body = await self._read(request)
            with self._slot():
                inputs, most = self._predictor.inputs, self._settings.most_samples
                if len(body) <= _SMALL:
                    recordings, alone = read_samples(body, inputs, most)
                else:
                    reading = self._decode(lambda: read_samples(body, inputs, most))
                    recordings, alone = await self._within(reading)
                yield recordings, alone, {}
        else:
            raise Refusal(415, "send application/json, or files as multipart/form-data", closes=True)

    async def _read(self, request: Request) -> bytes:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._settings.most_json_bytes:
                limit = f"{self._settings.most_json_bytes:,}"
                text = (
                    f"JSON of more than the limit of {limit} bytes; send arrays as files (npy) in multipart/form-data"
                )
                raise Refusal(413, text, closes=True)
        return bytes(body)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Takes one of the places of requests at work."""
        if self._counters.at_work >= self._settings.most_requests:
            raise Refusal(429, "too many requests are worked on; come again")
        self._counters.at_work += 1
        try:
            yield
        finally:
            self._counters.at_work -= 1

    @contextmanager
    def _hold(self, samples: list[Sample]) -> Iterator[None]:
        """Counts samples among the bytes that are held: of a few bytes of silence come minutes of numbers."""
        size = sum(values.nbytes for sample in samples for values in sample.inputs.values())
        if self._counters.buffered + size > self._settings.most_buffered_bytes:
            raise Refusal(429, "the server holds too many bytes of other requests; come again")
        self._counters.buffered += size
        try:
            yield
        finally:
            self._counters.buffered -= size

    async def _prepare(self, recordings: list[Recording], without: frozenset[str]) -> list[Sample]:
        def prepare() -> list[Sample]:
            return [self._intake.prepare(each, without=without) for each in recordings]

        size = sum(given.nbytes for each in recordings for given in each.given.values() if hasattr(given, "nbytes"))
        files = any(each.clip or any(isinstance(of, Path) for of in each.given.values()) for each in recordings)
        if not files and size <= _SMALL and len(recordings) == 1:
            return prepare()
        return await self._within(self._decode(prepare))

    async def _answer(self, samples: list[Sample], options: Options) -> list[Answer]:
        """Answers to samples, of which those that cannot be used say why."""
        usable = [sample for sample in samples if not sample.failure]
        found = iter(await self.engine.answer(usable, branches=options.branches, level=options.level) if usable else ())
        return [
            Answer(sample.id, notes=sample.remarks, failure=sample.failure) if sample.failure else next(found)
            for sample in samples
        ]

    def _require_level(self, options: Options) -> None:
        """Refuses a level that the calibration does not give, in words without a path."""
        if options.level is None:
            return
        for branch in self._predictor.list_answering(branches=options.branches):
            if said := self._predictor.calibrator.explain_refusal(branch, options.level):
                raise Refusal(422, f"level: {said}")

    async def _within(self, work: Awaitable[Result]) -> Result:
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                return await work
        except TimeoutError:
            seconds = self._settings.request_seconds
            raise Refusal(503, f"the work took longer than {seconds:g} s; send less, or come again") from None


def respond(body: bytes) -> Response:
    """Makes the response of a body of JSON."""
    return Response(body, media_type="application/json")


def _describe_box(timeline: Timeline, seconds: float) -> dict[str, Any]:
    """Describes where the face is at an instant, in pixels of the film; nothing where no faces were looked for."""
    if timeline.faces is None or timeline.faces.boxes is None:
        return {}
    return {"box": timeline.faces.find_box(seconds)}


def _describe(answer: Answer, names: Mapping[str, str]) -> dict[str, Any]:
    """Describes an answer as plain data, with the names that the client gave its files."""
    plain = answer.plain()
    plain["failure"] = show_names(answer.failure, names)
    plain["notes"] = [show_names(note, names) for note in answer.notes]
    return plain
