"""Playbooks: every mistake at once, with its line; and the ones that we ship are right."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import InputError, Problem
from chaos.playbook import Playbook, find, json_schema, load, parse
from chaos.playbook.units import format_duration, parse_duration

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"
SHIPPED = sorted(path for path in PLAYBOOKS.rglob("*.yaml") if "\nmethod:" in path.read_text())

BAD = """\
version: 2
titel: x
load: {profile: mixed, users: -1, flor: 3}
targets:
  zone_b: {select: zone=b, mode: every}
  other: {select: az=b}
safety: {max-duration: ten, lease: 1s, budget: {quorum-loss: maybe}}
method:
  - {name: x, action: power-of, targets: zone_b}
  - {name: y, action: power-off, targets: zone_c, for: 0s, with: {unsynced: looose}}
  - {action: partition, targets: zone_b, with: {cut: halves, from: az=a}}
  - {name: noaction}
seed: 1
seed: 2
"""

EXPECTED = [
    "line 1: title: is required",
    "line 1: version: should be 1, not 2",
    "line 2: titel: unknown field; did you mean 'title'?",
    "line 3: load.flor: unknown field; did you mean 'floor'?",
    "line 3: load.users: should be greater than or equal to 1, not -1",
    "line 5: targets.zone_b.mode: 'every' is not understood",
    "line 5: targets.zone_b.select[0]: 'zone=b' is not understood",
    "line 6: targets.other: is used by no action",
    "line 7: safety.budget.quorum-loss: 'maybe' is not understood",
    "line 7: safety.lease: a lease lies between 2s and 10m",
    "line 7: safety.max-duration: 'ten' is not a duration",
    "line 9: method[0]: unknown action 'power-of'",
    "line 10: method[1].for: a fault lasts longer than 0s",
    "line 10: method[1].targets: no target set named 'zone_c'; did you mean 'zone_b'?",
    "line 10: method[1].with.unsynced: should be 'lose' or 'keep', not 'looose'",
    "line 11: method[2].with: 'from' and 'direction' belong to the cuts isolate and isolate-each, not to 'halves'",
    "line 12: method[3]: 'action' is required",
    "line 14: 'seed' is given twice (first on line 13)",
]


def test_every_mistake_is_reported_at_once_with_its_line() -> None:
    with pytest.raises(Problem) as caught:
        parse(BAD, "bad.yaml")
    assert caught.value.exit_code == 2
    assert len(caught.value.problems) == len(EXPECTED)
    for got, wanted in zip(caught.value.problems, EXPECTED, strict=True):
        assert got.startswith(wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "the file is empty"),
        ("[1, 2]", "line 1: a playbook is a mapping"),
        ("title: [", "line 1: not valid YAML"),
        ("title: \t x\nmethod: {", "not valid YAML"),
        ("title: x\nmethod: []\n", "line 2: method: List should have at least 1 item"),
        ("title: x\nmethod: 3\n", "line 2: method: should be a valid list, not 3"),
        ("title: !!python/object:os.system x\n", "could not determine a constructor"),
        ("? [a, b]\n: c\n", "line 1: a key must be a plain word"),
        ("a: &a [1]\nb: &b [*a,*a]\n" + "c: " + "[" * 40 + "]" * 40, "nested deeper"),
    ],
)
def test_files_that_are_no_playbook(text: str, wanted: str) -> None:
    with pytest.raises(Problem, match="problem") as caught:
        parse(text, "x.yaml")
    assert wanted in str(caught.value)


def test_aliases_cannot_make_a_small_file_large() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(Problem, match="more than"):
        parse("\n".join(lines), "bomb.yaml")


def test_a_method_that_cannot_be_played() -> None:
    text = """\
title: x
targets: {z: {select: az=b}}
safety: {max-duration: 20s}
method:
  - {action: power-off, targets: z, at: 5s}
  - {action: power-off, targets: z, at: 1s, for: 30s}
  - {action: power-off, targets: z, at: 40s}
"""
    with pytest.raises(Problem) as caught:
        parse(text, "x.yaml")
    assert "line 3: safety.max-duration: the method lasts 40s, which is longer" in caught.value.problems
    assert "line 7: method[2].at: is beyond safety.max-duration (20s)" in caught.value.problems


def test_a_fault_without_a_length_must_not_start_when_the_method_ends() -> None:
    text = "title: x\ntargets: {z: {select: az=b}}\nmethod:\n  - {action: power-off, targets: z, at: 5s}\n"
    with pytest.raises(Problem, match=r"line 4: method\[0\]: would last no time at all"):
        parse(text, "x.yaml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_playbooks_are_right_and_agree_with_the_schema(path: Path) -> None:
    playbook, found = load(str(path))
    assert found == path
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(path.read_text()))
    dumped = json.loads(playbook.model_dump_json(by_alias=True))
    assert Playbook.model_validate(dumped) == playbook, "a resolved playbook can be played again"


def test_published_schema_is_the_one_of_the_code() -> None:
    published = PLAYBOOKS / "schema.json"
    assert json.loads(published.read_text()) == json_schema(), "run: blackstart schema > playbooks/schema.json"


def test_schema_refuses_what_we_refuse() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    bad = {"title": "x", "method": [{"action": "power-of", "targets": "z"}], "titel": 1}
    assert not validator.is_valid(bad)
    assert validator.is_valid({"title": "x", "method": [{"action": "human", "prompt": "?"}]})


def test_find_by_name_by_path_and_not_at_all(tmp_path: Path) -> None:
    assert find("az-power-off").name == "az-power-off.yaml"
    with pytest.raises(InputError, match="Did you mean 'az-power-off'"):
        find("az-power-of")
    with pytest.raises(InputError, match="is a directory"):
        find(str(tmp_path))
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Problem, match="not UTF-8"):
        load(str(binary))


@given(st.floats(min_value=0, max_value=1000).map(lambda v: round(v, 3)))
def test_durations_read_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("1.5s", 1.5), ("10m", 600), ("1h", 3600), (3, 3.0)])
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 s", "-1s", "1e3s", True, None, [], "8d", -1, float("nan"), "200h"])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
