"""The system under test: a database of DynamoDB's architecture (USENIX ATC 2022)."""
