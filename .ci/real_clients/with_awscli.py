"""The AWS CLI: as people type it, JSON files, waiters, pagination and --query included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

name = f"cli-{uuid.uuid4().hex[:8]}"
AWS = Path(sys.executable).parent / "aws"


def aws(*arguments: str, fails: bool = False) -> Any:
    command = [AWS, "--endpoint-url", os.environ["ENDPOINT"], "--output", "json", "dynamodb", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if fails:
        assert done.returncode, f"{arguments} succeeded"
        return done.stderr
    assert not done.returncode, f"{arguments}: {done.stderr}"
    return json.loads(done.stdout) if done.stdout.strip() else None


schema = [
    "--attribute-definitions",
    "AttributeName=pk,AttributeType=S",
    "--key-schema",
    "AttributeName=pk,KeyType=HASH",
]
aws("create-table", "--table-name", name, *schema, "--billing-mode", "PAY_PER_REQUEST", "--tags", "Key=made,Value=here")
aws("wait", "table-exists", "--table-name", name)
try:
    for number in range(5):
        aws("put-item", "--table-name", name, "--item", json.dumps({"pk": {"S": str(number)}, "n": {"N": "1"}}))
    key = json.dumps({"pk": {"S": "3"}})
    item = aws("get-item", "--table-name", name, "--key", key, "--consistent-read")["Item"]
    assert item == {"pk": {"S": "3"}, "n": {"N": "1"}}, item
    told = aws(
        *("put-item", "--table-name", name, "--item", key, "--condition-expression", "attribute_not_exists(pk)"),
        fails=True,
    )
    assert "ConditionalCheckFailedException" in told, told
    scanned = aws("scan", "--table-name", name, "--page-size", "2", "--consistent-read", "--query", "Items[].pk.S")
    assert sorted(scanned) == ["0", "1", "2", "3", "4"], scanned
    arn = aws("describe-table", "--table-name", name, "--query", "Table.TableArn")
    assert aws("list-tags-of-resource", "--resource-arn", arn)["Tags"] == [{"Key": "made", "Value": "here"}]
    aws("update-time-to-live", "--table-name", name, "--time-to-live-specification", "Enabled=true,AttributeName=e")
    found = aws("execute-statement", "--statement", f"SELECT n FROM \"{name}\" WHERE pk = '3'", "--consistent-read")
    assert found["Items"] == [{"n": {"N": "1"}}], found
finally:
    aws("delete-table", "--table-name", name)
    aws("wait", "table-not-exists", "--table-name", name)
version = subprocess.run([AWS, "--version"], capture_output=True, text=True, timeout=60)
print((version.stdout or version.stderr).split()[0].replace("/", " "))
