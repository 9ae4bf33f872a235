"""The application: what is answered at which address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response, WebSocket
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from fusionkit.errors import FusionKitError
from fusionkit.inference.predictor import Predictor
from fusionkit.serving.conversation import Conversation
from fusionkit.serving.counters import Counters
from fusionkit.serving.description import describe_network
from fusionkit.serving.endpoints import PREDICT, TIMELINE
from fusionkit.serving.http.guard import Guard
from fusionkit.serving.http.refusals import Refusal, encode, refuse_for
from fusionkit.serving.page import POLICY, REFERENCE_POLICY, make_reference, read_page
from fusionkit.serving.service import Service, respond
from fusionkit.serving.settings import Settings, limit_readers
from fusionkit.version import __version__


def make_application(predictor: Predictor, settings: Settings, counters: Counters, where: Path | None = None) -> Guard:
    """Makes the application of a server.

    Args:
        predictor: The network.
        settings: The settings.
        counters: What counts.
        where: The run that the network is of, for its figures.
    """
    service = Service(predictor, settings, counters)
    card = encode(describe_network(predictor, settings, where))
    page = read_page()

    @asynccontextmanager
    async def live(application: FastAPI) -> AsyncIterator[None]:
        with limit_readers(settings), service.work():
            yield

    application = FastAPI(
        title="fusionkit", version=__version__, docs_url=None, redoc_url=None, lifespan=live, redirect_slashes=False
    )
    application.add_exception_handler(Refusal, _answer_refusal)
    application.add_exception_handler(FusionKitError, _answer_error)
    application.add_exception_handler(HTTPException, _answer_exception)
    application.add_exception_handler(ClientDisconnect, _answer_nobody)
    application.add_exception_handler(Exception, _answer_fault)

    @application.get("/", include_in_schema=False)
    async def show_page() -> Response:
        return Response(page, media_type="text/html", headers={"content-security-policy": POLICY})

    @application.get("/docs", include_in_schema=False)
    async def show_reference() -> Response:
        reference = make_reference(application.openapi())
        return Response(reference, media_type="text/html", headers={"content-security-policy": REFERENCE_POLICY})

    @application.get("/health", summary="Tells whether the server lives, and whether it asks for a token")
    async def tell_health() -> Response:
        return respond(encode({"status": "ok", "token": settings.token is not None}))

    @application.get("/card", summary="Describes the network: modalities, targets, classes and figures")
    async def tell_card() -> Response:
        return respond(card)

    @application.get("/metrics", summary="Tells what the server did, in the text format of Prometheus")
    async def tell_metrics() -> Response:
        return Response(counters.write(), media_type="text/plain; version=0.0.4")

    application.post("/predict", **PREDICT)(service.predict)
    application.post("/timeline", **TIMELINE)(service.answer_over_time)

    @application.websocket("/stream")
    async def hold_stream(socket: WebSocket) -> None:
        await Conversation(
            socket,
            predictor,
            engine=service.engine,
            settings=settings,
            counters=counters,
            run_aside=service.run_aside,
        ).hold()

    return Guard(application, settings, counters)


def _answer_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return Response(error.body, error.status, error.headers, "application/json")


def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FusionKitError)
    return _answer_refusal(request, refuse_for(error))


def _answer_exception(request: Request, error: Exception) -> Response:
    """Answers where there is no such address, or no such method."""
    assert isinstance(error, HTTPException)
    return Response(encode({"error": error.detail}), error.status_code, error.headers, "application/json")


def _answer_nobody(request: Request, error: Exception) -> Response:
    """Answers a client that has gone."""
    return Response(status_code=400)


def _answer_fault(request: Request, error: Exception) -> Response:
    """Answers where the server itself failed, which its log explains and no client is told."""
    return Response(encode({"error": "the server failed; its log says why"}), 500, None, "application/json")
