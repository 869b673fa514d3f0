"""Calls between nodes on top of :meth:`World.send`, which promises nothing.

A call is answered, refused or timed out; a timed-out call may still have been carried out. The envelope is a msgpack
array ``[kind, id, name, body]``: for requests and notices ``name`` is the method, for answers it is an error code or
empty. Handlers are plain callables that answer through a :class:`Responder`, so that the hot path creates no task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from cluster.node.world import World

REQUEST, ANSWER, NOTICE = 0, 1, 2

MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError)
"""What decoding bytes of a peer may raise: msgspec lets a string that is no UTF-8 through as Python's own error."""

_envelope = msgspec.msgpack.Decoder(tuple[int, int, str, msgspec.Raw])
_encode = msgspec.msgpack.Encoder().encode
_plain = msgspec.msgpack.Decoder()


class RpcError(Exception):
    """The peer refused. ``code`` is a word the caller can act on, ``detail`` whatever goes with it."""

    def __init__(self, code: str, detail: Any = None) -> None:
        super().__init__(f"{code}: {detail}" if detail is not None else code)
        self.code = code
        self.detail = detail


class RpcTimeout(RpcError):
    """No answer in time: the call may or may not have been carried out."""

    def __init__(self, peer: str, method: str) -> None:
        super().__init__(TIMEOUT, f"{method} at {peer}")


class Responder(msgspec.Struct, eq=False):
    """Answers one request, once. Later answers are dropped, as are answers to notices. A struct, since those are made
    without a call."""

    _rpc: Rpc
    _sender: str
    _id: int
    """Of the request; 0 once it is answered, and for a notice."""

    def reply(self, result: Any = None) -> None:
        call_id, self._id = self._id, 0
        if call_id:
            self._rpc.world.send(self._sender, _encode((ANSWER, call_id, "", result)))

    def refuse(self, code: str, detail: Any = None) -> None:
        call_id, self._id = self._id, 0
        if call_id:
            self._rpc.world.send(self._sender, _encode((ANSWER, call_id, code, detail)))


Method = Callable[[str, Any, Responder], None]
"""``method(sender, params, responder)``."""

Answered = Callable[[str, Any], None]
"""``answered(code, result)``: an empty code and the result, or why there is none and its detail."""

TIMEOUT = "timeout"

SENDERS_MAX = 1024
TAKEN_MAX = 2048
"""At least so many of a sender's last requests are remembered, so that a doubled message is noticed."""


class Rpc:
    """The node's end of all calls, made and answered."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.malformed = 0
        """Messages that could not be decoded, ever; garbage costs a peer nothing but this count."""
        self._methods: dict[str, tuple[Method, msgspec.msgpack.Decoder[Any]]] = {}
        self._waiting: dict[int, tuple[Answered, msgspec.msgpack.Decoder[Any]]] = {}
        # By length of the timeout, of which there are few: so each queue is in the order in which its calls expire, and
        # one timer serves it. Calls that were answered stay until they come to the front.
        self._expiring: dict[float, deque[tuple[float, int, str, str]]] = {}
        # Ids start at a random point so that an answer meant for an earlier life of this node matches nothing.
        self._next_id = world.rng.getrandbits(40) + 1
        self._nobody = Responder(self, "", 0)
        """Waits for the answer to a notice."""
        self._taken: dict[str, tuple[set[int], set[int]]] = {}
        """By sender: requests that were taken lately, the newest in the first set; only asked, never gone through."""
        world.on_message(self._on_message)

    def register(self, name: str, method: Method, params: Any = Any) -> None:
        """Serve ``name``; params are decoded as the given type, and a call that does not fit it is refused."""
        decoder = _plain if params is Any else msgspec.msgpack.Decoder(params)
        self._methods[name] = (method, decoder)

    def register_async(self, name: str, function: Callable[[str, Any], Awaitable[Any]], params: Any = Any) -> None:
        """Serve ``name`` with a coroutine function; an :class:`RpcError` it raises becomes the refusal."""

        async def run(sender: str, arguments: Any, responder: Responder) -> None:
            try:
                responder.reply(await function(sender, arguments))
            except RpcError as error:
                responder.refuse(error.code, error.detail)

        def method(sender: str, arguments: Any, responder: Responder) -> None:
            self.world.spawn(run(sender, arguments, responder), f"rpc-{name}")

        self.register(name, method, params)

    def notify(self, peer: str, method: str, params: Any) -> None:
        """Send without expecting an answer."""
        self.world.send(peer, _encode((NOTICE, 0, method, params)))

    def ask(
        self,
        peer: str,
        method: str,
        params: Any,
        timeout_s: float,
        answered: Answered,
        decoder: msgspec.msgpack.Decoder[Any] = _plain,
    ) -> None:
        """Send a request; ``answered`` is called once, later. ``timeout_s`` should be a constant of the caller's."""
        self._next_id = call_id = self._next_id + 1
        self._waiting[call_id] = (answered, decoder)
        due = self.world.now() + timeout_s
        queue = self._expiring.get(timeout_s)
        if queue is None:
            queue = self._expiring[timeout_s] = deque()
            self.world.call_at(due, lambda: self._expire(timeout_s))
        queue.append((due, call_id, peer, method))
        self.world.send(peer, _encode((REQUEST, call_id, method, params)))

    def start(
        self, peer: str, method: str, params: Any, timeout_s: float, decoder: msgspec.msgpack.Decoder[Any] = _plain
    ) -> asyncio.Future[Any]:
        """Send a request; the future yields the result or raises :class:`RpcError`."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(code: str, result: Any) -> None:
            if future.done():
                return
            if not code:
                future.set_result(result)
            else:
                future.set_exception(RpcTimeout(peer, method) if code == TIMEOUT else RpcError(code, result))

        self.ask(peer, method, params, timeout_s, answered, decoder)
        return future

    async def call(self, peer: str, method: str, params: Any = None, timeout_s: float = 1.0) -> Any:
        """Send a request and wait for its answer."""
        return await self.start(peer, method, params, timeout_s)

    def _expire(self, timeout_s: float) -> None:
        """Give up on the calls of one timeout that are due, and look again when the next unanswered one is."""
        queue, waiting, now = self._expiring[timeout_s], self._waiting, self.world.now()
        while queue:
            due, call_id, peer, method = queue[0]
            if call_id in waiting:
                if due > now:
                    self.world.call_at(due, lambda: self._expire(timeout_s))
                    return
                answered, _ = waiting.pop(call_id)
                queue.popleft()
                answered(TIMEOUT, f"{method} at {peer}")
            else:
                queue.popleft()
        del self._expiring[timeout_s]

    def _on_message(self, sender: str, payload: bytes) -> None:
        try:
            kind, call_id, name, body = _envelope.decode(payload)
            if kind == ANSWER:
                self._answered(call_id, name, body)
                return
            entry = self._methods.get(name)
            responder = Responder(self, sender, call_id) if kind == REQUEST else self._nobody
            if entry is None:
                responder.refuse("no-method", name)
                return
            if kind == REQUEST and not self._is_new(sender, call_id):
                return
            params = entry[1].decode(body)
        except MALFORMED:
            self.malformed += 1
            return
        entry[0](sender, params, responder)

    def _is_new(self, sender: str, call_id: int) -> bool:
        """Whether a request is here for the first time. The network may double messages, but a write that is carried
        out twice may undo what others wrote in between."""
        newest, older = self._taken.get(sender) or self._meet(sender)
        if call_id in newest or call_id in older:
            return False
        if len(newest) >= TAKEN_MAX:
            newest, older = set(), newest
            self._taken[sender] = (newest, older)
        newest.add(call_id)
        return True

    def _meet(self, sender: str) -> tuple[set[int], set[int]]:
        if len(self._taken) >= SENDERS_MAX:  # whoever calls once under a new name each time, as tools do
            del self._taken[next(iter(self._taken))]
        return self._taken.setdefault(sender, (set(), set()))

    def _answered(self, call_id: int, code: str, body: msgspec.Raw) -> None:
        waiting = self._waiting.pop(call_id, None)
        if waiting is None:
            return
        answered, decoder = waiting
        try:
            result = (_plain if code else decoder).decode(body)
        except MALFORMED as error:
            code, result = "malformed", str(error)
        answered(code, result)
