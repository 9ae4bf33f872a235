"""A stream's conversation over a WebSocket: frames, blocks and rows come, answers go."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from fusionkit.errors import DataError, FusionKitError, Problem
from fusionkit.inference.predictor import Predictor
from fusionkit.inference.timeline.live import LiveStream
from fusionkit.serving.counters import Counters
from fusionkit.serving.engine import Engine
from fusionkit.serving.http.access import check_token
from fusionkit.serving.http.refusals import Refusal, encode
from fusionkit.serving.messages import (
    decode_elements,
    read_flag,
    read_number,
    read_object,
    refuse_unknown_options,
    split_message,
)
from fusionkit.serving.settings import Settings

Result = TypeVar("Result")
RunAside = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in another thread."""

MOST_WINDOW = 30.0
LEAST_EVERY = 0.02
"""Seconds of a stream's window, and of a message; seconds from one answer to the next."""

NO_LEVEL_OVER_TIME = "level: was calibrated for whole samples, not for their windows; ask /predict"
"""The answer to who asks for sets over time."""

_MOST_MISTAKES = 20
_SEND_SECONDS = 10.0
_QUIET_SECONDS = 120.0
"""Seconds in which a client has to read an answer, and after which one that sends nothing is sent away."""

_log = logging.getLogger("fusionkit.serving")

_RATES = {"video": (1.0, 240.0), "sound": (4000.0, 384_000.0)}


@dataclass
class Options:
    """The options of a stream, from its first message.

    Args:
        window: Seconds that an answer is of.
        every: Seconds of the signals from one answer to the next.
        branches: Answer by every trained branch as well.
        without: Modalities that are hidden from the network.
    """

    window: float
    every: float = 0.2
    branches: bool = False
    without: frozenset[str] = frozenset()


class Conversation:
    """Talks with one client.

    The first message is JSON and holds the token. Every binary message is a line of JSON that says what follows
    (modality, ``at``, dtype, shape), and the bytes. Text messages change what is hidden, reset the stream, or end it.

    Args:
        socket: The connection.
        predictor: The network.
        engine: What computes.
        settings: The settings of the server.
        counters: What counts.
        run_aside: Where signals are decoded and faces found.
    """

    def __init__(
        self,
        socket: WebSocket,
        predictor: Predictor,
        *,
        engine: Engine,
        settings: Settings,
        counters: Counters,
        run_aside: RunAside,
    ) -> None:
        self._socket, self._predictor, self._engine = socket, predictor, engine
        self._settings, self._counters, self._run_aside = settings, counters, run_aside
        self._stream: LiveStream | None = None
        self._rates: dict[str, float] = {}
        self._answered_at = -math.inf
        self._mistakes = 0

    async def hold(self) -> None:
        """Holds the conversation until one side ends it."""
        await self._socket.accept()
        try:
            self._options = self._greet(await self._receive(self._settings.header_seconds))
            # A client takes a place once it has shown the token: others could take all of them.
            with self._take_place():
                await self._talk()
        except WebSocketDisconnect:
            pass
        except TimeoutError:
            await self._end(1008, "nothing came in time")
        except Refusal as refusal:
            await self._end(1013 if refusal.status == 429 else 1008, refusal.message)
        except Exception:
            _log.exception("a stream failed")
            await self._end(1011, "the server failed; its log says why")

    @contextmanager
    def _take_place(self) -> Iterator[None]:
        if self._counters.streams >= self._settings.most_streams:
            raise Refusal(429, "too many streams are open; come again")
        self._counters.streams += 1
        try:
            yield
        finally:
            self._counters.streams -= 1

    async def _talk(self) -> None:
        await self._send(
            {
                "ready": True,
                "modalities": list(self._predictor.modalities),
                "window": self._options.window,
                "every": self._options.every,
            }
        )
        while True:
            message = await self._receive(_QUIET_SECONDS)
            try:
                if isinstance(message, bytes):
                    await self._take(message)
                elif not await self._obey(read_object(message)):
                    return
            except (FusionKitError, Refusal) as error:
                self._mistakes += 1
                await self._send({"error": getattr(error, "message", None) or str(error)})
                if self._mistakes >= _MOST_MISTAKES:
                    await self._end(1008, "too many messages were wrong")
                    return

    def _greet(self, first: str | bytes) -> Options:
        if isinstance(first, bytes):
            raise Refusal(401, "the first message is JSON and holds the token")
        try:
            given = read_object(first)
            token = given.get("token")
            check_token(self._settings.token, token.encode() if isinstance(token, str) else None)
            if "level" in given:
                raise Refusal(422, NO_LEVEL_OVER_TIME)
            refuse_unknown_options(given, ("token", "window", "every", "rates", "branches", "without"))
            window, every = given.get("window", self._settings.window), given.get("every", Options.every)
            rates = given.get("rates", {})
            if not isinstance(rates, dict) or not set(rates) <= set(self._predictor.modalities):
                raise DataError([Problem("rates", "no rates by modality")])
            for name, rate in rates.items():
                self._check_rate(name, rate)
            return Options(
                read_number("window", window, LEAST_EVERY, MOST_WINDOW),
                read_number("every", every, LEAST_EVERY, MOST_WINDOW),
                read_flag(given, "branches"),
                self._read_hidden(given.get("without", [])),
            )
        except DataError as error:
            raise Refusal(422, str(error)) from None

    async def _obey(self, command: Mapping[str, Any]) -> bool:
        """Does what a text message says; false where it ends the conversation."""
        refuse_unknown_options(command, ("without", "reset", "predict", "finish"))
        reset, predict, finish = (read_flag(command, name) for name in ("reset", "predict", "finish"))
        if "without" in command:
            self._options.without = self._read_hidden(command["without"])
        if reset:
            self._stream, self._answered_at = None, -math.inf
        if predict or finish:
            await self._answer()
        if finish:
            await self._end(1000, "")
            return False
        return True

    def _read_hidden(self, given: Any) -> frozenset[str]:
        if not isinstance(given, list) or not set(map(str, given)) <= set(self._predictor.modalities):
            known = ", ".join(self._predictor.modalities)
            raise DataError([Problem("without", "no list of modalities", f"known: {known}")])
        return frozenset(map(str, given))

    async def _take(self, message: bytes) -> None:
        described, payload = split_message(message)
        refuse_unknown_options(described, ("modality", "at", "rate", "dtype", "shape"))
        modality = described.get("modality")
        if modality not in self._predictor.modalities:
            known = ", ".join(self._predictor.modalities)
            raise DataError(
                [Problem("modality", f"{str(modality)[:64]!r} is none of the network's", f"known: {known}")]
            )
        at = described.get("at")
        if at is not None:
            at = read_number("at", at, -1e9, 1e9)
        self._check_rate(modality, described.get("rate"))
        stream = self._find_stream()

        def push() -> None:
            elements = decode_elements(described, payload)
            self._check_length(modality, elements)
            stream.push(modality, elements, at=at)

        await self._run_aside(push)
        newest = stream.newest
        if newest is not None and newest - self._answered_at >= self._options.every:
            await self._answer()

    def _check_rate(self, modality: str, given: Any) -> None:
        """Notes the rate of a source, which the first message states, or the first of the source."""
        if given is None:
            return
        stated = self._predictor.inputs.modalities[modality]
        kind = "video" if stated.shape else "sound"
        rate = read_number("rate", given, *_RATES[kind])
        if self._stream is None:
            self._rates[modality] = rate
        elif self._rates.get(modality) != rate:
            # A source that begins later, or anew at another rate: what came so far is soon of the past anyway.
            self._rates[modality], self._stream = rate, None
            self._answered_at = -math.inf

    def _check_length(self, modality: str, elements: Any) -> None:
        """Refuses a message of more seconds than a window: of few bytes it can be hours, at the rate that it states."""
        rate = self._rates.get(modality) or self._predictor.inputs.modalities[modality].rate
        seconds = len(elements) / rate if rate and elements.ndim else 0.0
        if seconds > MOST_WINDOW:
            raise DataError([Problem(modality, f"{seconds:,.0f} s in one message", f"at most {MOST_WINDOW:g} s")])

    def _find_stream(self) -> LiveStream:
        if self._stream is None:
            self._stream = self._predictor.stream(self._options.window, rates=self._rates)
        return self._stream

    async def _answer(self) -> None:
        stream, options = self._find_stream(), self._options
        if not any(stream.counts.values()):
            await self._send({"error": "nothing was sent yet that can be answered to"})
            return
        self._answered_at = -math.inf if stream.newest is None else stream.newest  # what has no time has no newest

        def predict() -> dict[str, Any]:
            said: dict[str, Any] = {"at": stream.newest}
            whole = stream.predict(branches=options.branches)
            said["answer"] = whole.plain()
            if options.without:
                said["whole"] = said["answer"]
                said["answer"] = stream.predict(branches=options.branches, without=options.without).plain()
            return said

        said = await self._engine.call(predict)
        box = stream.box
        if box is not None:
            said["box"] = [box.left, box.top, box.right, box.bottom]
        await self._send(said)
        self._counters.count_stream_answer()

    async def _receive(self, seconds: float) -> str | bytes:
        message = await asyncio.wait_for(self._socket.receive(), seconds)
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        text = message.get("text")
        return text if text is not None else bytes(message["bytes"])

    async def _send(self, value: Mapping[str, Any]) -> None:
        try:
            await asyncio.wait_for(self._socket.send_text(encode(value).decode()), _SEND_SECONDS)
        except RuntimeError:  # uvicorn's word for a connection that it has closed meanwhile
            raise WebSocketDisconnect from None

    async def _end(self, code: int, reason: str) -> None:
        with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            await asyncio.wait_for(self._socket.close(code, reason[:100]), _SEND_SECONDS)
