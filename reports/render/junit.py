"""``junit.xml``: one suite for the playbook, one case for each check and promise.

Failed is a failure, unknown an error, skipped skipped: what CI systems make of a JUnit file then agrees with the
verdict. A verdict that no case explains (an unconfirmed fault, a person's interruption) gets a case of its own.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from reports.rundir import Verdict

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(verdict: Verdict) -> bytes:
    """The document, UTF-8 with declaration."""
    cases = [
        ("checks", check.name, check.result, check.why, check.seconds, _evidence(check.findings))
        for check in verdict.checks
    ]
    cases += [
        ("promises", promise.name, promise.result, promise.why or promise.measured, 0.0, "")
        for promise in verdict.expect
    ]
    if verdict.verdict != "passed" and not any(case[2] in ("failed", "unknown") for case in cases):
        cases.append(("run", verdict.verdict, "unknown", "; ".join(verdict.why), 0.0, ""))
    suite = Xml.Element(
        "testsuite",
        name=_clean(verdict.playbook or "run"),
        tests=str(len(cases)),
        failures=str(sum(1 for c in cases if c[2] == "failed")),
        errors=str(sum(1 for c in cases if c[2] == "unknown")),
        skipped=str(sum(1 for c in cases if c[2] == "skipped")),
        time=f"{verdict.seconds:.3f}",
    )
    if verdict.started:
        suite.set("timestamp", _clean(verdict.started))
    properties = Xml.SubElement(suite, "properties")
    for name in ("verdict", "runtime", "seed", "commit"):
        Xml.SubElement(properties, "property", name=name, value=_clean(str(getattr(verdict, name))))
    for group, name, result, why, seconds, evidence in cases:
        case = Xml.SubElement(
            suite, "testcase", classname=_clean(f"{verdict.playbook}.{group}"), name=_clean(name), time=f"{seconds:.3f}"
        )
        element = {"failed": "failure", "unknown": "error", "skipped": "skipped"}.get(result)
        if element:
            Xml.SubElement(case, element, message=_clean(why)).text = _clean(evidence) or None
    root = Xml.Element("testsuites")
    root.append(suite)
    Xml.indent(root)
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _evidence(findings: list[dict[str, object]]) -> str:
    return "\n".join(str(found.get("what", found)) for found in findings)


def _clean(text: str) -> str:
    """Without the characters XML cannot hold."""
    return _FORBIDDEN.sub("\ufffd", text)
