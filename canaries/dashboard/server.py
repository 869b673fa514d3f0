"""The live page over HTTP: one page, one stream of changes, a token for both. It serves reads, and nothing but reads.

One task looks at the files and renders what changed; every open page waits for that task, so ten pages cost the
machine what one does. A page that cannot keep up misses states, never grows a queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from canaries.dashboard import view
from canaries.dashboard.source import Source
from canaries.dashboard.state import State
from reports.render import page as report_page

TEMPLATES: Final = Path(__file__).parent / "templates"
PANELS: Final = ("banner", "steps", "zones", "timeline", "details")
LOOK_S: Final = 0.5
DRAW_EVERY_S: Final = 2.0
"""The drawing is most of what is sent; nobody sees it move more often than this."""
HEARTBEAT_S: Final = 2.0
PAGES_MAX: Final = 50
HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
HEADERS: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
WAITING: Final = "no run yet"


class Board:
    """What every open page shows: panels by name, as rendered, each with the number of its last change."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.context: dict[str, Any] = {}
        self.panels: dict[str, tuple[int, str]] = {}
        self.number = 0
        self.pages = 0
        self.closing: Callable[[], bool] = lambda: False
        """Whether the server is about to end: open pages must not keep it."""
        self._changed = asyncio.Condition()
        self._drawn_at = 0.0
        self._drawn = self._week = ""
        self._run = ""
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    async def watch(self) -> None:
        """Look and render for ever."""
        while True:
            await asyncio.to_thread(self.look)
            async with self._changed:
                self._changed.notify_all()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Read what is new, and render the panels that it changed. A page that shows an error of its own is of more use
        at night than one that is gone."""
        try:
            self._look()
        except Exception as error:
            nothing = view.Seen(0.0, None, False, 0)
            what = f"This page failed: {type(error).__name__}: {error}."
            said = view.Banner("bad", "Page broken", what, "Look at the run itself.")
            self._render(view.page(State(self._run or WAITING), nothing) | {"banner": said, "drawing": "", "week": ""})

    def _look(self) -> None:
        follower = self.source.look()
        if follower is None:
            state, seen = State(WAITING), view.Seen(0.0, None, False, 0)
        else:
            state = follower.state
            seen = view.Seen(follower.now_s(), follower.age_s, follower.alive, follower.unreadable)
        context = view.page(state, seen)
        # Of a run that is over nothing changes but its age.
        if state.name != self._run or time.monotonic() - self._drawn_at >= DRAW_EVERY_S:
            self._run, self._drawn_at, self._drawn = state.name, time.monotonic(), view.drawing(state, seen)
            self._week = "" if follower is None else view.days(follower.days)
        context["drawing"], context["week"] = Markup(self._drawn), Markup(self._week)
        self._render(context)

    def _render(self, context: dict[str, Any]) -> None:
        self.context = context
        self.number += 1
        for name in ("head", *PANELS):
            text = self._environment.get_template(f"panels/{name}.html.j2").render(context)
            if name not in self.panels or self.panels[name][1] != text:
                self.panels[name] = (self.number, text)

    def page(self, nonce: str) -> str:
        """The whole page as it is now."""
        return self._environment.get_template("page.html.j2").render(
            self.context,
            nonce=nonce,
            panels=PANELS,
            style=report_page.style() + Markup((TEMPLATES / "dashboard.css").read_text()),
            script=Markup((TEMPLATES / "dashboard.js").read_text()),
        )

    def update(self, since: int) -> dict[str, Any]:
        """What changed after ``since``."""
        banner = self.context["banner"]
        sign = {"bad": "✖ ", "warn": "▲ "}.get(banner.tone, "")
        return {
            "title": f"{sign}{banner.word} – {self.context['title']} – Blackstart",
            "clock": self.context["clock"],
            "panels": {name: text for name, (number, text) in self.panels.items() if number > since},
        }

    async def stream(self) -> AsyncIterator[bytes]:
        """Changes for one page, for as long as it is open; a sign of life where there are none."""
        self.pages += 1
        try:
            sent, clock = 0, ""
            told_at = 0.0
            while not self.closing():
                async with self._changed:
                    await self._changed.wait()
                number, update = self.number, self.update(sent)
                if update["panels"] or update["clock"] != clock or time.monotonic() - told_at > HEARTBEAT_S:
                    sent, clock, told_at = number, update["clock"], time.monotonic()
                    yield f"data: {json.dumps(update, ensure_ascii=False)}\n\n".encode()
        finally:
            self.pages -= 1


def application(source: Source, token: str) -> Starlette:
    """The page as an ASGI application."""
    board = Board(source)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(board.look)
        task = asyncio.create_task(board.watch())
        try:
            yield
        finally:
            task.cancel()

    async def page(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(board.page(nonce), headers={**HEADERS, "Content-Security-Policy": policy})

    async def events(request: Request) -> Response:
        if board.pages >= PAGES_MAX:
            return refusal(503, f"{PAGES_MAX} pages are open already; close one.")
        return StreamingResponse(board.stream(), media_type="text/event-stream", headers=HEADERS)

    async def state(request: Request) -> Response:
        """The same as data, for scripts."""
        context = {key: value for key, value in board.context.items() if key not in ("drawing", "week")}
        context["banner"] = context["banner"]._asdict()
        return Response(json.dumps({"schema": 1, **context}), media_type="application/json", headers=HEADERS)

    routes = [Route("/", page), Route("/events", events), Route("/state.json", state)]
    routes = [Route(route.path, guarded(route.endpoint, token), methods=["GET"]) for route in routes]
    made = Starlette(routes=routes, lifespan=lifespan)
    made.state.board = board
    return made


def server(source: Source, token: str, ready: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """A server of the page; give its ``run`` a listening socket. ``ready`` is called once it serves."""

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    served = application(source, token)
    config = uvicorn.Config(
        served, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=2, server_header=False
    )
    made = Server(config)
    served.state.board.closing = lambda: made.should_exit
    return made


Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(endpoint: Endpoint, token: str) -> Endpoint:
    """Refuse whoever does not have the token, or comes by a name that is not this machine's own."""

    async def check(request: Request) -> Response:
        name = request.headers.get("host", "")
        if name not in HOSTS and name.rpartition(":")[0] not in HOSTS:
            return refusal(403, "This page is only served under the names 127.0.0.1 and localhost.")
        if not hmac.compare_digest(offered(request.query_params, request.headers).encode(), token.encode()):
            return refusal(403, "The token is missing or wrong: open the whole URL that blackstart dashboard prints.")
        return await endpoint(request)

    return check


def offered(query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The token that came with a request."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return query.get("token") or (value.strip() if scheme.lower() == "bearer" else "")


def refusal(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status_code=status, headers=HEADERS)
