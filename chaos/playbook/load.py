"""Reading a playbook: find the file, check it, and say everything that is wrong with it at once."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chaos.errors import InputError, Problem
from chaos.playbook.document import Document, dotted, read_document
from chaos.playbook.model import (
    PartitionAction,
    Playbook,
    PowerOffAction,
    RestartAction,
    method_end,
    parse_mode,
)
from chaos.playbook.units import format_duration

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
ALARMS_HINT = ": the alarms are cfa-availability and one for each zone, cfa-zone-a"
ACTIONS = ("power-off", "random-power-off", "partition", "bit-rot", "restart", "rolling-restart", "human")
LASTING = PowerOffAction | PartitionAction | RestartAction
"""Actions that are undone after their 'for'."""
HINT = "blackstart schema prints the JSON Schema; playbooks/az-power-off.yaml is a commented example."


def find(name: str) -> Path:
    """The file meant by ``name``: a path, or the name of one of our playbooks. Raises :class:`InputError`."""
    path = Path(name)
    if path.is_dir():
        raise InputError(f"{name} is a directory, not a playbook", hint="Give the path of a .yaml file.")
    if path.is_file():
        return path
    ours = PLAYBOOKS / f"{name}.yaml"
    if re.fullmatch(r"[A-Za-z0-9_-]+", name) and ours.is_file():
        return ours
    known = sorted(p.stem for p in PLAYBOOKS.glob("*.yaml"))
    near = difflib.get_close_matches(Path(name).stem, known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Playbooks that come with Blackstart: {', '.join(known)}."
    raise InputError(f"no such playbook: {name}", hint=hint)


def load(name: str) -> tuple[Playbook, Path]:
    """Read and check a playbook. Raises :class:`Problem` with every mistake and its line."""
    path = find(name)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Problem(str(path), [f"not UTF-8 text (byte {error.start})"]) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    return parse(text, str(path)), path


def parse(text: str, name: str) -> Playbook:
    """Check the text of a playbook. Raises :class:`Problem` with every mistake and its line."""
    problems: list[str] = []
    document = read_document(text, name, problems)
    if not isinstance(document.value, dict):
        raise Problem(name, ["line 1: a playbook is a mapping with at least 'title' and 'method'"], hint=HINT)
    playbook: Playbook | None = None
    try:
        playbook = Playbook.model_validate(document.value)
    except ValidationError as error:
        problems += [describe(document, item) for item in error.errors(include_url=False)]
    problems += unknown_targets(document)
    if playbook is not None:
        problems += cross_checks(playbook, document)
    if problems:
        raise Problem(name, sorted(set(problems), key=line_number), hint=HINT)
    assert playbook is not None
    return playbook


def line_number(problem: str) -> tuple[int, str]:
    """Sort key: the line that a problem names."""
    match = re.match(r"line (\d+)", problem)
    return (int(match[1]) if match else 0, problem)


def describe(document: Document, error: Any) -> str:
    """One validation error as a person wants to read it."""
    location = tuple(error["loc"])
    shown = tuple(part for i, part in enumerate(location) if i == 0 or in_file(document, location, i))
    where = f"line {document.line_of(location)}: {dotted(shown)}"
    field = next((part for part in reversed(shown) if isinstance(part, str)), "")
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{where}: unknown field{suggest(str(location[-1]), fields_at(location))}"
    if kind == "missing":
        return f"{where}: is required"
    if kind == "union_tag_not_found":
        return f"{where}: 'action' is required: {', '.join(ACTIONS)}"
    if kind == "union_tag_invalid":
        return f"{where}: unknown action '{context.get('tag')}': there are {', '.join(ACTIONS)}"
    if kind == "value_error":
        return f"{where}: {context['error']}"
    if kind == "string_pattern_mismatch":
        if location[:2] in (("expect", "alarms"), ("expect", "quiet")):
            return f"{where}: '{error['input']}' is no alarm{ALARMS_HINT}"
        return f"{where}: '{error['input']}' is not understood{pattern_hint(field)}"
    message = str(error["msg"])
    if message.startswith("Input should be "):
        return f"{where}: should be {message.removeprefix('Input should be ')}, not {shorten(error['input'])}"
    return f"{where}: {message}"


def shorten(value: Any) -> str:
    """A value as it stands in an error message, bounded."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def in_file(document: Document, location: tuple[str | int, ...], index: int) -> bool:
    """Whether a part of a validator's path stands in the file, rather than naming the variant it tried."""
    part = location[index]
    last = index == len(location) - 1
    return last or any(path and path[-1] == part for path in document.lines)


def pattern_hint(field: str) -> str:
    """How to write the field, where the pattern itself would say little."""
    hints = {
        "select": ": write az=b, rack=b1, role=storage, node=storage-a1, terms joined by commas, or all",
        "from": ": write az=b, rack=b1, role=storage, node=storage-a1, terms joined by commas, or all",
        "mode": ": write all, one, count(2), percent(50), random(2), leader-of(load) or leader-of(system)",
        "tolerance": ": write a comparison like '>= 0.999'",
        "when": ": write a comparison like '< 0.5'",
    }
    return hints.get(field, ": letters, digits, - and _, starting with a letter")


def suggest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; there are {', '.join(known)}" if known else ""


def fields_at(location: tuple[str | int, ...]) -> list[str]:
    """The YAML names that are allowed where ``location`` ends."""
    schema = json_schema()
    node: dict[str, Any] = schema
    for part in location[:-1]:
        node = resolve(schema, node)
        if isinstance(part, int):
            node = node.get("items", {})
        elif part in node.get("properties", {}):
            node = node["properties"][part]
        elif part in node.get("discriminator", {}).get("mapping", {}):
            node = {"$ref": node["discriminator"]["mapping"][part]}
        else:
            extra: Any = node.get("additionalProperties") or next(iter(node.get("patternProperties", {}).values()), {})
            node = extra if isinstance(extra, dict) else {}
    return list(resolve(schema, node).get("properties", {}))


def resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follow a ``$ref``."""
    reference = node.get("$ref")
    if reference is None:
        return node
    return dict(schema["$defs"][str(reference).rsplit("/", 1)[-1]])


def unknown_targets(document: Document) -> list[str]:
    """Target sets that are named but not there, or there but not used; asked of the raw file, so that it is said
    together with the errors of single fields."""
    raw = document.value if isinstance(document.value, dict) else {}
    method, targets = raw.get("method"), raw.get("targets", {})
    if not isinstance(method, list) or not isinstance(targets, dict):
        return []
    problems: list[str] = []
    used: list[str] = []
    for index, action in enumerate(method):
        name = action.get("targets") if isinstance(action, dict) else None
        if not isinstance(name, str):
            continue
        used.append(name)
        if name not in targets:
            path = ("method", index, "targets")
            where = f"line {document.line_of(path)}: {dotted(path)}"
            problems.append(f"{where}: no target set named '{name}'{suggest(name, list(targets))}")
    for name in targets:
        if name not in used:
            problems.append(f"line {document.line_of(('targets', name))}: targets.{name}: is used by no action")
    return problems


def cross_checks(playbook: Playbook, document: Document) -> list[str]:
    """Mistakes that no single field shows."""
    problems: list[str] = []
    end = playbook.safety.max_duration
    for index, action in enumerate(playbook.method):
        if action.at >= end:
            path = ("method", index, "at")
            problems.append(
                f"line {document.line_of(path)}: {dotted(path)}: is beyond safety.max-duration ({format_duration(end)})"
            )
        elif isinstance(action, LASTING) and action.for_ is None and action.at >= method_end(playbook.method):
            where = f"line {document.line_of(('method', index))}: method[{index}]"
            problems.append(f"{where}: would last no time at all: give it a 'for' (the method ends with it)")
    if method_end(playbook.method) > end:
        where = f"line {document.line_of(('safety', 'max-duration'))}: safety.max-duration"
        problems.append(f"{where}: the method lasts {format_duration(method_end(playbook.method))}, which is longer")
    problems += alarm_problems(playbook, document)
    for name, spec in playbook.targets.items():
        where = f"line {document.line_of(('targets', name, 'mode'))}: targets.{name}.mode"
        kind, argument = parse_mode(spec.mode)
        if kind in ("count", "random") and int(argument) < 1:
            problems.append(f"{where}: {spec.mode} selects nobody")
        if kind == "percent" and not 1 <= int(argument) <= 100:
            problems.append(f"{where}: {spec.mode} is not between 1 and 100")
    return problems


def alarm_problems(playbook: Playbook, document: Document) -> list[str]:
    """Promises about alarms that contradict one another, or that nobody could keep."""
    expect = playbook.expect
    named = {promise.name for promise in expect.alarms}
    problems: list[str] = []
    if (named or expect.quiet) and not playbook.canaries.enabled:
        where = f"line {document.line_of(('canaries', 'enabled'))}: canaries.enabled"
        problems.append(f"{where}: 'expect' is about alarms, which only canaries raise")
    for index, name in enumerate(expect.quiet):
        if name in named:
            path = ("expect", "quiet", index)
            where = f"line {document.line_of(path)}: {dotted(path)}"
            problems.append(f"{where}: {name} is to fire by 'alarms' and to stay quiet here")
    return problems


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a playbook (2020-12)."""
    schema = Playbook.model_json_schema(by_alias=True, mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Blackstart playbook"
    return schema
