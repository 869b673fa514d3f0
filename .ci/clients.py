"""Clients on a real cluster: boto3, the AWS CLI, aiobotocore, aiodynamo, PynamoDB, AWS's SDK for Go.

``.ci/clients.py [--runtime local | --endpoint URL] [--no-go]``: 0 if every client does what it is for. The
Python ones live in an environment of their own (``.venv-clients``, the extra ``clients``): they want each their own
botocore. Go's compiler and SDK are two Debian packages, installed when root has them not; where they cannot be had,
that client counts as failed unless it was left out on purpose.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
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
LIMIT_S = 600
GO = CHECKS / "go"
GO_PATH = Path("/usr/share/gocode")
GO_SDK = GO_PATH / "src" / "github.com" / "aws" / "aws-sdk-go"
GO_PACKAGES = ["golang-go", "golang-github-aws-aws-sdk-go-dev"]
GO_MISSING = f"not run: apt-get install -y {' '.join(GO_PACKAGES)}, or leave it out with --no-go"


def install() -> None:
    """The extra ``clients`` in an environment of its own; again whenever the extra changes."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["clients"]
    if STAMP.exists() and STAMP.read_text() == "\n".join(wanted):
        return
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True, timeout=LIMIT_S)
    subprocess.run([VENV / "bin" / "pip", "install", "-q", *wanted], check=True, timeout=LIMIT_S)
    STAMP.write_text("\n".join(wanted))


def install_go() -> None:
    """Debian's Go and its package of AWS's SDK, where root lacks them; what apt says is shown if it cannot."""
    if (shutil.which("go") and GO_SDK.is_dir()) or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    for words in (["update"], ["install", "-y", "--no-install-recommends", *GO_PACKAGES]):
        done = subprocess.run([*apt, *words], env=env, capture_output=True, text=True, timeout=LIMIT_S)
        if done.returncode:
            print(f"apt-get {words[0]} failed: {done.stderr[-2000:]}", flush=True)


def compile_go() -> Path | None:
    """The client in Go, in GOPATH mode and so from Debian's files alone; None where compiler or SDK is missing."""
    install_go()
    if not shutil.which("go") or not GO_SDK.is_dir():
        return None
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": str(GO_PATH), "GOFLAGS": "", "CGO_ENABLED": "0"}
    env["GOCACHE"] = str(VENV / "go" / "cache")
    binary = VENV / "go" / "with-go"
    for verb in (["vet"], ["build", "-o", str(binary)]):
        subprocess.run(["go", *verb, "."], check=True, timeout=LIMIT_S, cwd=GO, env=env)
    return binary


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
    parser.add_argument("--no-go", action="store_true", help="leave the client in Go out")
    options = parser.parse_args()
    install()
    compiled: dict[str, Path | None] = {}
    if not options.no_go:
        compiled["with_go"] = compile_go()
    if options.endpoint:
        return run(options.endpoint, {}, compiled)
    with cluster(options.runtime) as (endpoint, keys):
        return run(endpoint, keys, compiled)


def run(endpoint: str, keys: dict[str, str], compiled: dict[str, Path | None]) -> int:
    """Every client once, one line each; 0 if all are well. A compiled one that is not there could not be built."""
    env = {**os.environ, "ENDPOINT": endpoint, "AWS_PAGER": "", "AWS_EC2_METADATA_DISABLED": "true", **keys}
    python = VENV / "bin" / "python"
    results = [check(script.stem, [python, script], env) for script in sorted(CHECKS.glob("with_*.py"))]
    for name, binary in compiled.items():
        if binary is None:
            print(f"BAD  {name}: {GO_MISSING}", flush=True)
        results.append(binary is not None and check(name, [binary], env))
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
