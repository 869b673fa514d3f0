"""Real clients against a real cluster: boto3, the AWS CLI, aiobotocore, aiodynamo, PynamoDB; AWS's Rust SDK if asked.

``.ci/clients.py [--runtime local | --endpoint URL] [--rust]``: 0 if every client does what it is for. The Python ones
live in an environment of their own (``.venv-clients``, the extra ``clients``): they want each their own botocore.
Rust's compiles for minutes, so only who asks for it waits.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ROOT / ".ci" / "real_clients"
VENV = ROOT / ".venv-clients"
STAMP = VENV / ".installed"
RUST = CHECKS / "rust"
RUST_TARGET = VENV / "rust"
LIMIT_S = 600
COMPILE_LIMIT_S = 1800


def install() -> None:
    """The extra ``clients`` in an environment of its own; again whenever the extra changes."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["clients"]
    if STAMP.exists() and STAMP.read_text() == "\n".join(wanted):
        return
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True, timeout=LIMIT_S)
    subprocess.run([VENV / "bin" / "pip", "install", "-q", *wanted], check=True, timeout=LIMIT_S)
    STAMP.write_text("\n".join(wanted))


def compile_rust() -> Path:
    """The client in Rust, compiled when its crate changed."""
    command: list[str | Path] = ["cargo", "build", "-q", "--locked", "--target-dir", RUST_TARGET]
    subprocess.run(command, check=True, timeout=COMPILE_LIMIT_S, cwd=RUST)
    return RUST_TARGET / "debug" / "with-rust"


@contextmanager
def cluster(runtime: str) -> Iterator[tuple[str, dict[str, str]]]:
    """A cluster of our own: its endpoint and the environment of its clients."""
    blackstart = ROOT / ".venv" / "bin" / "blackstart"
    up: list[str | Path] = [blackstart, "cluster", "up", "--runtime", runtime, "--json"]
    told = json.loads(subprocess.run(up, check=True, capture_output=True, text=True, timeout=LIMIT_S, cwd=ROOT).stdout)
    try:
        yield (
            told["endpoints"][0],
            {
                "AWS_ACCESS_KEY_ID": told["access_key"],
                "AWS_SECRET_ACCESS_KEY": told["secret_key"],
                "AWS_DEFAULT_REGION": told["region"],
            },
        )
    finally:
        subprocess.run([blackstart, "cluster", "down", told["cluster"]], check=True, timeout=LIMIT_S, cwd=ROOT)


def check(name: str, command: list[str | Path], env: dict[str, str]) -> bool:
    began = time.monotonic()
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    good = done.returncode == 0
    said = done.stdout.strip().splitlines()[-1:] if good else [done.stdout[-2000:] + done.stderr[-4000:]]
    print(f"{'ok  ' if good else 'BAD '} {name} ({time.monotonic() - began:.0f} s): {''.join(said)}", flush=True)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", default="local", choices=["docker", "local"])
    parser.add_argument("--endpoint", help="a running cluster, with its keys in the AWS environment variables")
    parser.add_argument("--rust", action="store_true", help="compile and run the client in Rust too")
    options = parser.parse_args()
    install()
    rust = compile_rust() if options.rust else None
    if options.endpoint:
        return run(options.endpoint, {}, rust)
    with cluster(options.runtime) as (endpoint, keys):
        return run(endpoint, keys, rust)


def run(endpoint: str, keys: dict[str, str], rust: Path | None) -> int:
    env = {**os.environ, "ENDPOINT": endpoint, "AWS_PAGER": "", "AWS_EC2_METADATA_DISABLED": "true", **keys}
    python = VENV / "bin" / "python"
    results = [check(script.stem, [python, script], env) for script in sorted(CHECKS.glob("with_*.py"))]
    if rust is not None:
        results.append(check("with_rust", [rust], env))
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
