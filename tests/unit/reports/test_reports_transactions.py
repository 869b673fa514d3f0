"""The transactions checker: each anomaly planted and named, and a slow oracle that agrees about serial order."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from reports.checkers.transactions_graph import Graph, cycles, realtime
from reports.checkers.transactions_lists import FAILED, OK, UNKNOWN, Txn, depend

FAR = 1_000_000


def txn(
    name: str,
    *,
    a: dict[str, str] | None = None,
    r: dict[str, str] | None = None,
    t: tuple[int, int] = (0, FAR),
    outcome: str = OK,
) -> Txn:
    """A transaction in short: ``a={"x": "1"}`` appends 1 to x, ``r={"x": "12"}`` reads the list 1, 2."""
    appends = tuple((key, id_) for key, ids in (a or {}).items() for id_ in ids)
    return Txn(name, outcome, t[0], t[1], appends, tuple((key, tuple(ids)) for key, ids in (r or {}).items()))


def anomalies(*txns: Txn) -> list[str]:
    found = depend(txns)
    return sorted({one.kind for one in found.anomalies} | {cycle.anomaly for cycle in cycles(found.graph)})


def test_a_serial_history_is_clean() -> None:
    assert anomalies(
        txn("t1", a={"x": "1", "y": "1"}, t=(0, 1)),
        txn("t2", r={"x": "1", "y": "1"}, t=(2, 3)),
        txn("t3", a={"x": "2"}, r={"y": "1"}, t=(4, 5)),
        txn("t4", r={"x": "12", "y": "1"}, t=(6, 7)),
    ) == []  # fmt: skip


def test_g0_writes_in_two_orders() -> None:
    assert anomalies(
        txn("t1", a={"x": "1", "y": "1"}), txn("t2", a={"x": "2", "y": "2"}), txn("r", r={"x": "12", "y": "21"})
    ) == ["G0"]


def test_g1a_a_cancelled_transaction_is_read() -> None:
    assert anomalies(txn("t1", a={"x": "1"}, outcome=FAILED), txn("r", r={"x": "1"})) == ["G1a"]


def test_g1b_half_of_a_transactions_appends_are_read() -> None:
    assert "G1b" in anomalies(txn("t1", a={"x": "12"}), txn("r", r={"x": "1"}), txn("s", r={"x": "12"}))


def test_g1c_information_flows_in_a_circle() -> None:
    assert anomalies(
        txn("t1", a={"x": "1"}, r={"y": "2"}), txn("t2", a={"y": "2"}, r={"x": "1"})
    ) == ["G1c"]  # fmt: skip


def test_g_single_a_read_sees_half_of_a_transaction() -> None:
    assert anomalies(txn("t1", a={"x": "1", "y": "1"}), txn("r", r={"x": "1", "y": ""}), txn("s", r={"y": "1"})) == [
        "G-single"
    ]


def test_g2_write_skew() -> None:
    assert anomalies(
        txn("t1", r={"x": "", "y": ""}, a={"x": "1"}), txn("t2", r={"x": "", "y": ""}, a={"y": "1"}),
        txn("s", r={"x": "1", "y": "1"}),
    ) == ["G2"]  # fmt: skip


def test_a_write_that_was_acknowledged_and_is_not_seen_later_breaks_real_time() -> None:
    assert anomalies(txn("t1", a={"x": "1"}, t=(0, 1)), txn("r", r={"x": ""}, t=(2, 3))) == ["G-single-realtime"]
    assert anomalies(txn("t1", a={"x": "1"}, t=(0, 2)), txn("r", r={"x": ""}, t=(1, 3))) == []


def test_an_acknowledged_append_that_never_shows_is_lost() -> None:
    assert anomalies(
        txn("t1", a={"x": "1"}, t=(0, 1)), txn("t2", a={"x": "2"}, t=(2, 3)), txn("r", r={"x": "1"}, t=(4, 5))
    ) == ["G-single-realtime"]


def test_what_was_never_answered_may_have_happened_or_not() -> None:
    assert anomalies(txn("t1", a={"x": "1"}, t=(0, 1), outcome=UNKNOWN), txn("r", r={"x": ""}, t=(2, 3))) == []
    assert anomalies(
        txn("t1", a={"x": "1", "y": "1"}, t=(0, 1), outcome=UNKNOWN), txn("r", r={"x": "1", "y": ""}, t=(2, 3)),
        txn("s", r={"y": "1"}, t=(2, 9)),
    ) == ["G-single"]  # fmt: skip


def test_lists_that_contradict_each_other_or_hold_what_nobody_wrote() -> None:
    one, two = txn("t1", a={"x": "1"}), txn("t2", a={"x": "2"})
    assert "incompatible-order" in anomalies(one, two, txn("r", r={"x": "12"}), txn("s", r={"x": "21"}))
    assert "phantom" in anomalies(txn("r", r={"x": "7"}))
    assert "duplicate" in anomalies(one, txn("r", r={"x": "11"}))


def test_the_shortest_cycle_is_shown() -> None:
    graph = Graph(6)
    for source, target in ((0, 1), (1, 2), (2, 3), (3, 0), (1, 4), (4, 5), (5, 0), (2, 0)):
        graph.add(source, target, "ww", "k")
    (cycle,) = cycles(graph)
    assert cycle.anomaly == "G0"
    assert {step.source for step in cycle.steps} == {0, 1, 2}
    assert [step.target for step in cycle.steps] == [step.source for step in (*cycle.steps[1:], cycle.steps[0])]


# --- against oracles ---

KEYS = "xy"


@st.composite
def histories(draw: st.DrawFn) -> list[Txn]:
    """Up to five transactions: appends as they please, reads of any order of what is appended to a key at all."""
    count = draw(st.integers(2, 5))
    appends: list[dict[str, str]] = []
    for number in range(count):
        keys = draw(st.sets(st.sampled_from(KEYS)))
        appends.append({key: str(number) for key in sorted(keys)})
    order = {key: draw(st.permutations([str(n) for n in range(count) if key in appends[n]])) for key in KEYS}
    made = []
    for number in range(count):
        reads = {
            key: "".join(order[key][: draw(st.integers(0, len(order[key])))])
            for key in sorted(draw(st.sets(st.sampled_from(KEYS))))
            if key not in appends[number]
        }
        start = draw(st.integers(0, 6))
        made.append(txn(f"t{number}", a=appends[number], r=reads, t=(start, start + draw(st.integers(1, 6)))))
    # Somebody reads everything at the end, so that every version is known.
    made.append(txn("end", r={key: "".join(order[key]) for key in KEYS}, t=(50, 51)))
    return made


def serializable(txns: list[Txn], *, strict: bool) -> bool:
    """Whether some order explains all reads: every order is tried."""
    for order in permutations(range(len(txns))):
        if strict and any(
            txns[order[later]].ended < txns[order[earlier]].invoked
            for earlier in range(len(order))
            for later in range(earlier + 1, len(order))
        ):
            continue
        state: dict[str, list[str]] = {key: [] for key in KEYS}
        for number in order:
            if any(list(read) != state[key] for key, read in txns[number].reads):
                break
            for key, id_ in txns[number].appends:
                state[key].append(id_)
        else:
            return True
    return False


@settings(max_examples=300)
@given(histories())
def test_a_cycle_is_found_exactly_where_no_order_explains_the_history(txns: list[Txn]) -> None:
    found = depend(txns)
    assert not found.anomalies
    names = [cycle.anomaly for cycle in cycles(found.graph)]
    plain = [name for name in names if not name.endswith("-realtime")]
    assert (not plain) == serializable(txns, strict=False)
    assert (not names) == serializable(txns, strict=True)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5)), max_size=9))
def test_time_reaches_exactly_as_far_as_all_pairs_say(spans: list[tuple[int, int]]) -> None:
    spans = [(start, start + length) for start, length in spans]
    graph = Graph(len(spans))
    realtime(graph, spans)
    everyone = frozenset(range(len(spans)))
    for one in range(len(spans)):
        for other in range(len(spans)):
            if one != other:
                reached = graph.path(one, other, frozenset({"rt"}), everyone) is not None
                assert reached == (spans[one][1] < spans[other][0])
