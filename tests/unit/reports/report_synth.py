"""Histories made by a model of the database: correct ones, and ones with a defect whose victims are known.

The model is a set of registers. Each operation takes effect at one instant between its invocation and its end (or, of
unknown outcome, at any later time, or never); :class:`Model` can be told to misbehave.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from reports.rundir import CONDITION_FAILED, NO_ITEM, HistoryWriter, Operation
from reports.rundir.history import NEVER_NS

MS = 1_000_000


def operation(
    op: str,
    id: int,
    invoked: int,
    ended: int | None,
    *,
    value: str | None = None,
    observed: str | None = None,
    expect: str | None = None,
    outcome: str | None = None,
    error: str | None = None,
    key: str = "k",
    az: str = "a",
    writer: str = "w",
    answered: int | None = None,
    endpoint: str = "",
    status: int = 200,
) -> Operation:
    """One operation for hand-written histories; ``ended`` None makes its outcome unknown."""
    outcome = outcome or ("unknown" if ended is None else "ok")
    end = NEVER_NS if ended is None or outcome == "unknown" else ended
    answered = answered if answered is not None else (NEVER_NS if ended is None else ended)
    return Operation(
        writer,
        id,
        op,
        "t",
        key,
        value,
        expect,
        az,
        endpoint,
        invoked,
        invoked,
        end,
        answered,
        outcome,
        status,
        error,
        observed,
    )


@dataclass
class Mix:
    """What clients do; chances in 0..1."""

    operations: int = 60
    clients: int = 4
    keys: int = 1
    unknown: float = 0.0
    failed: float = 0.02
    weights: dict[str, float] = field(
        default_factory=lambda: {"put": 3, "cput": 3, "update": 2, "delete": 1, "get": 4, "eget": 2}
    )


@dataclass
class Model:
    """The register's truth: ``chain`` per key lists what happened, in order, as (operation id, value)."""

    rng: random.Random
    state: dict[str, str | None] = field(default_factory=dict)
    past: dict[str, list[str | None]] = field(default_factory=dict)
    truth: dict[str, list[tuple[str, str | None]]] = field(default_factory=dict)

    def write(self, key: str, name: str, value: str | None) -> None:
        self.past.setdefault(key, [None]).append(value)
        self.state[key] = value
        self.truth.setdefault(key, []).append((name, value))

    def roll_back(self, key: str, steps: int) -> list[str]:
        """Forget the last writes of a key, as a crash without fsync would; returns the names of those forgotten."""
        chain = self.truth.get(key, [])
        forgotten = [name for name, _ in chain[len(chain) - steps :]]
        del chain[len(chain) - steps :]
        self.state[key] = chain[-1][1] if chain else None
        return forgotten


def simulate(seed: int, mix: Mix, roll_back_at: int | None = None) -> tuple[list[Operation], Model, set[str]]:
    """Run clients against the model; at the end every key is read (``final``).

    With ``roll_back_at`` the model forgets some writes of one key when that many operations have taken effect.
    Returns the history, the model, and the names of acknowledged or unanswered writes that were forgotten.
    """
    rng = random.Random(seed)
    model = Model(rng)
    keys = [f"k{n}" for n in range(mix.keys)]
    queue: list[tuple[int, int, int]] = []  # (time, tie, client)
    done: list[Operation] = []
    forgotten: set[str] = set()
    effects: list[tuple[int, int, dict[str, object]]] = []
    now = tie = effected = 0
    counters = [0] * mix.clients
    for client in range(mix.clients):
        heapq.heappush(queue, (rng.randrange(0, 10), client, client))
    started = 0
    while queue or effects:
        if effects and (not queue or effects[0][0] <= queue[0][0]):
            now, _, call = heapq.heappop(effects)
            _take_effect(model, rng, call, done)
            effected += 1
            if effected == roll_back_at:
                key = str(call["key"])
                if model.truth.get(key):
                    forgotten.update(model.roll_back(key, rng.randint(1, min(3, len(model.truth[key])))))
            continue
        now, _, client = heapq.heappop(queue)
        if started >= mix.operations:
            continue
        started += 1
        tie += 1
        counters[client] += 1
        call = _call(rng, mix, model, client, counters[client], rng.choice(keys), now)
        if not call["never"]:
            heapq.heappush(effects, (int(call["effect"]), tie, call))  # type: ignore[call-overload]
        else:
            done.append(_record(call, None, False))
        heapq.heappush(queue, (int(call["free"]) + rng.randrange(0, 6), client, client))  # type: ignore[call-overload]
    end = now + 10_000
    for number, key in enumerate(keys):
        done.append(
            operation(
                "final",
                number + 1,
                end + 10 * number,
                end + 10 * number + 5,
                key=key,
                writer="sweep",
                observed=model.state.get(key),
            )
        )
    done.sort(key=lambda o: o.invoked_ns)
    return done, model, forgotten


def _call(rng: random.Random, mix: Mix, model: Model, client: int, id: int, key: str, now: int) -> dict[str, object]:
    op = rng.choices(list(mix.weights), list(mix.weights.values()))[0]
    latency = rng.randrange(1, 30)
    chance = rng.random()
    unknown = chance < mix.unknown
    refused = not unknown and chance < mix.unknown + mix.failed
    expect = None
    if op == "cput" or (op in ("update", "delete") and rng.random() < 0.2):
        expect = rng.choice([model.state.get(key) or NO_ITEM, model.state.get(key) or NO_ITEM, NO_ITEM, "*"])
    never = refused or (unknown and rng.random() < 0.5)
    effect = now + rng.randrange(0, latency + 1) if not unknown else now + rng.randrange(0, 200)
    return {
        "op": op,
        "client": client,
        "id": id,
        "key": key,
        "invoked": now,
        "free": now + latency,
        "effect": effect,
        "ended": now + latency,
        "unknown": unknown,
        "refused": refused,
        "never": never,
        "expect": expect,
        "value": f"c{client}.{id}" if op in ("put", "cput", "update") else None,
    }


def _take_effect(model: Model, rng: random.Random, call: dict[str, object], done: list[Operation]) -> None:
    key, expect, op = str(call["key"]), call["expect"], call["op"]
    before = model.state.get(key)
    if op == "eget":
        done.append(_record(call, rng.choice(model.past.get(key, [None])), False))
        return
    good = expect is None or (
        before is None if expect == NO_ITEM else before is not None if expect == "*" else before == expect
    )
    if op in ("put", "cput", "update", "delete") and good and not (op == "delete" and before is None):
        value = call["value"]
        model.write(key, f"c{call['client']}#{call['id']}", None if value is None else str(value))
    done.append(_record(call, before, not good))


def _record(call: dict[str, object], observed: str | None, condition_failed: bool) -> Operation:
    outcome, error = "ok", None
    if call["unknown"]:
        outcome, observed = "unknown", None
    elif call["refused"]:
        outcome, error, observed = "fail", "ThrottlingException", None
    elif condition_failed:
        outcome, error = "fail", CONDITION_FAILED
    return operation(
        str(call["op"]),
        int(call["id"]),
        int(call["invoked"]),
        int(call["ended"]),
        value=call["value"],  # type: ignore
        observed=observed,
        expect=call["expect"],
        outcome=outcome,
        error=error,
        key=str(call["key"]),  # type: ignore
        writer=f"c{call['client']}",
    )


def write_history(directory: object, operations: Iterable[Operation]) -> None:
    """Write operations as their writers would have, in order of time."""
    from pathlib import Path

    writers: dict[str, HistoryWriter] = {}
    moments: list[tuple[int, int, int, Operation]] = []
    for n, o in enumerate(operations):
        moments.append((o.invoked_ns, 0, n, o))
        if o.answered_ns != NEVER_NS:
            moments.append((o.answered_ns, 1, n, o))
    ids: dict[int, int] = {}
    for t_ns, kind, n, o in sorted(moments, key=lambda m: m[:3]):
        writer = writers.get(o.writer)
        if writer is None:
            writer = writers[o.writer] = HistoryWriter(Path(str(directory)) / f"{o.writer}.log", o.writer)
        if kind == 0:
            ids[n] = writer.invoke(
                o.op,
                o.table,
                o.key,
                o.value,
                o.expect,
                az=o.az,
                endpoint=o.endpoint,
                intended_ns=o.intended_ns,
                t_ns=t_ns,
            )
        else:
            writer.complete(ids[n], o.outcome, status=o.status, error=o.error, value=o.observed, t_ns=t_ns)
    for writer in writers.values():
        writer.close()
