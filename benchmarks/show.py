"""The figures as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.hops import HOPS, OPERATIONS, ROUTER_US_MAX

TARGETS = {"put x128": 3000, "get x128": 6000}
CHECKED_PER_SECOND = 100_000
IDLE_MB, IDLE_CPU_PERCENT, START_RATIO = 60, 5.0, 1.5


def _met(value: float, target: float, *, at_most: bool = False) -> str:
    good = value <= target if at_most else value >= target
    return f"[green]{target:,g} met[/green]" if good else f"[yellow]{target:,g} missed[/yellow]"


def show(report: dict[str, Any]) -> None:
    """Print every part of the report that there is."""
    console = Console(width=150)
    console.print(f"{report['cores']} cores, shared by everything below; {report['seconds']:g} s a cell")
    if "operations" in report:
        _operations(console, report["operations"])
    if "hops" in report:
        _hops(console, report["hops"])
    others = Table("figure", "value", "target", title="Everything else")
    _cluster(others, report.get("operations", {}).get("blackstart", {}))
    if "generator" in report:
        figures = report["generator"]
        others.add_row(
            "load generator (plan, sign, send, judge, record, Locust)",
            f"{figures['per_core']:,.0f} requests/s a core ({figures['cpu_us']:.0f} µs each)",
            "",
        )
    if "checkers" in report:
        figures = report["checkers"]
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in figures["by_part"].items())
        verdicts = ", ".join(sorted(set(figures["results"].values())))
        others.add_row(
            f"checkers over {figures['operations']:,} operations ({parts}; {verdicts})",
            f"{figures['per_second']:,.0f} operations/s",
            _met(figures["per_second"], CHECKED_PER_SECOND),
        )
    if "simulator" in report:
        _simulator(others, report["simulator"])
    if "scrubbing" in report:
        _scrubbing(others, report["scrubbing"])
    if "transactions" in report:
        _transactions(others, report["transactions"])
    if "watching" in report:
        _watching(others, report["watching"])
    if others.row_count:
        console.print(others)


def _operations(console: Console, results: dict[str, Any]) -> None:
    table = Table(title="900-byte items: requests/s, p50 and p99 in ms, CPU µs a request in the client and in each hop")
    table.add_column("")
    for name, result in results.items():
        table.add_column(f"{name}\n[dim]{result.get('note', result.get('skipped', ''))}[/dim]")
    table.add_column("target")
    rows = sorted({row for result in results.values() for row in result.get("cells", {})}, key=_row_order)
    for row in rows:
        cells = [_cell(result.get("cells", {}).get(row)) for result in results.values()]
        ours = results.get("blackstart", {}).get("cells", {}).get(row)
        target = _met(ours["per_second"], TARGETS[row]) if ours and row in TARGETS else ""
        table.add_row(row, *cells, target)
    console.print(table)


def _hops(console: Console, figures: dict[str, Any]) -> None:
    idle = ", ".join(f"{hop} {used / 1000:.1f}" for hop, used in figures["idle_us_per_s"].items())
    table = Table(
        *("", "requests/s", "p50 ms", *HOPS, "target for routers"),
        title=f"CPU µs a request by hop: 900-byte items, concurrency {figures['concurrency']}, {figures['kind']}",
        caption=f"With what they use at rest, in ms a second: {idle}",
    )
    for operation, cell in figures["cells"].items():
        used = cell["hops_us"]
        target = ROUTER_US_MAX.get(operation)
        trouble = "\n[red]the leader changed meanwhile[/red]" if cell["moved"] else ""
        if cell["errors"]:
            trouble += f"\n[red]{cell['errors']} errors: {escape(str(cell['first_error']))}[/red]"
        table.add_row(
            OPERATIONS[operation] + trouble,
            f"{cell['per_second']:,.0f}",
            f"{cell['p50_ms']:.2f}" if cell["requests"] else "-",
            *(f"{used[hop]:,.0f}" for hop in HOPS),
            _met(used["routers"], target, at_most=True) if target is not None else "",
        )
    console.print(table)


def _simulator(table: Table, figures: dict[str, Any]) -> None:
    day, explored = figures["game_day"], figures["explore"]
    table.add_row(
        f"simulated game day: {day['nodes']} nodes, {day['rate']:g} requests/s over HTTP, {day['virtual_s']:.0f} s, "
        f"median of {day['days']} ({day['verdict']})",
        f"{day['virtual_s_per_cpu_s']:.1f} virtual seconds for one of a core",
        _met(day["virtual_s_per_cpu_s"], day["target"]),
    )
    idle = day["idle"]
    table.add_row(
        f"the same at {idle['rate']:g} requests/s: canaries, status polls, heartbeats, scrub",
        f"{idle['virtual_s_per_cpu_s']:.1f} virtual seconds for one of a core, {idle['share']:.0%} of what it costs",
        "",
    )
    bare = figures["without_http"]
    table.add_row(
        f"the same topology, {bare['rate']:.0f} requests/s without HTTP, canaries and polls, as seeds are explored",
        f"{bare['virtual_s_per_cpu_s']:.1f} virtual seconds for one of a core",
        _met(bare["virtual_s_per_cpu_s"], bare["target"]),
    )
    table.add_row(
        f"exploring {explored['seeds']} seeds, {explored['virtual_s_per_cpu_s']:.0f} virtual seconds for one of a core",
        f"{explored['seeds_per_core_minute']:.0f} seeds a minute on one core",
        "",
    )


def _scrubbing(table: Table, figures: dict[str, Any]) -> None:
    tree, log = figures["tree"], figures["log"]
    table.add_row(
        f"scrubbing {tree['file_bytes'] / 1e6:.0f} MB of B-tree page by page, beside reading the file at "
        f"{tree['read']['mb_per_s']:.0f} MB/s",
        f"{tree['pages']['mb_per_s']:.0f} MB/s ({tree['pages_to_read']:.2f} of it); digest of its rows "
        f"{tree['digest']['mb_per_s']:.0f} MB/s",
        "",
    )
    table.add_row(
        f"archiving: {log['segments']} segments of 1 MB, stored in {log['put_ms']:.1f} ms each",
        f"sealed at {log['seal']['mb_per_s']:.0f} MB/s, rebuilt from at {log['rebuild']['mb_per_s']:.0f} MB/s",
        "",
    )
    background = figures["background"]
    table.add_row(
        f"background scrub of a node at {background['bytes_per_s'] / 1024:.0f} KiB/s",
        f"{background['cpu_percent']:.2f} % of a core",
        "",
    )


TRANSACTION_COSTS = {
    "tput": ("put", "a put in a transaction of its own", 4.0),
    "tput-token": ("put", "the same with a token, as SDKs send it", 4.0),
    "tget": ("get", "a get in a transaction of its own", 2.0),
}
"""The plain operation beside each, and how much longer a one-item transaction took in DynamoDB: about, and a bit under
[P23]."""


def _transactions(table: Table, figures: dict[str, Any]) -> None:
    cells = figures["cells"]
    for operation, (beside, said, cost) in TRANSACTION_COSTS.items():
        for concurrency in (1, 32):
            plain, txn = cells[f"{beside} x{concurrency}"], cells[f"{operation} x{concurrency}"]
            ratio = txn["p50_ms"] / plain["p50_ms"]
            table.add_row(
                f"{said}, x{concurrency}",
                f"p50 {txn['p50_ms']:.2f} ms, {ratio:.1f} times the plain one's; {txn['per_second']:,.0f}/s",
                _met(ratio, cost, at_most=True),
            )


def _watching(table: Table, figures: dict[str, Any]) -> None:
    canary, page = figures["canary"], figures["page"]
    table.add_row(
        "a canary: five operations a second",
        f"{canary['cpu_percent']:.1f} % of a core, {canary['cpu_us_per_probe']:.0f} µs a probe, "
        f"{canary['memory_mb']:.0f} MB",
        "",
    )
    table.add_row(
        "the live page over three canaries",
        f"{page['cpu_percent']:.1f} % of a core, {page['look_ms']:.0f} ms a look",
        "",
    )


def _row_order(row: str) -> tuple[bool, int]:
    operation, _, concurrency = row.partition(" x")
    return operation != "put", int(concurrency)


def _cell(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "-"
    if not cell["requests"]:
        return f"[red]none: {cell['first_error']}[/red]"
    hops = " ".join(f"{name} {us:.0f}" for name, us in cell["hops_us"].items() if us >= 1)
    errors = f" [red]{cell['errors']} errors[/red]" if cell["errors"] else ""
    return (
        f"[bold]{cell['per_second']:,.0f}/s[/bold]{errors}  {cell['p50_ms']:.2f} / {cell['p99_ms']:.1f} ms\n"
        f"[dim]client {cell['client_us']:.0f} {hops}[/dim]"
    )


def _cluster(table: Table, ours: dict[str, Any]) -> None:
    if "idle" in ours:
        memory = ours["idle"]["memory_mb_max"]
        largest = max(memory.values(), default=0.0)
        table.add_row(
            "idle memory of a node: " + ", ".join(f"{role} {mb:g}" for role, mb in memory.items()),
            f"{largest:g} MB at most",
            _met(largest, IDLE_MB, at_most=True),
        )
        percent = ours["idle"]["cpu_percent"]
        table.add_row(
            "idle CPU of the whole cluster", f"{percent:.1f} % of a core", _met(percent, IDLE_CPU_PERCENT, at_most=True)
        )
    if "serving_s" in ours:
        empty = ours.get("empty_s")
        beside = f" beside {empty:.1f} s for as many that do nothing" if empty else ""
        ratio = _met(ours["serving_s"] / empty, START_RATIO, at_most=True) if empty else ""
        table.add_row("command to serving cluster", f"{ours['serving_s']:.1f} s{beside}", ratio)
