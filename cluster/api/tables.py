"""What the API layer knows of a table: its key schema, from the description the control plane keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cluster.core.errors import ApiError
from cluster.core.keys import KeyAttribute, KeySchema
from cluster.core.shape import IndexShape, global_indexes, local_indexes

ACCOUNT = "123456789012"
"""The account that owns everything here."""


class TableSchema(NamedTuple):
    """The part of a table's description that items are checked against. Made once per table version and kept."""

    name: str
    id: str
    key: KeySchema
    locals: tuple[IndexShape, ...] = ()
    globals: tuple[IndexShape, ...] = ()

    @property
    def indexes_by_name(self) -> list[IndexShape]:
        """All secondary indexes, in the order in which AWS names the first that refuses a value."""
        return sorted(self.locals + self.globals, key=lambda index: index.name)

    def index_named(self, name: str) -> IndexShape | None:
        """The secondary index of a name."""
        return next((index for index in self.locals + self.globals if index.name == name), None)

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> TableSchema:
        """From DescribeTable's ``Table`` object."""
        types = {entry["AttributeName"]: entry["AttributeType"] for entry in description["AttributeDefinitions"]}
        roles = {entry["KeyType"]: entry["AttributeName"] for entry in description["KeySchema"]}
        sort = roles.get("RANGE")
        key = KeySchema(
            KeyAttribute(roles["HASH"], types[roles["HASH"]]),
            KeyAttribute(sort, types[sort]) if sort is not None else None,
        )
        return cls(
            description["TableName"],
            description.get("TableId", ""),
            key,
            local_indexes(description),
            global_indexes(description),
        )


def item_table_not_found() -> ApiError:
    """A data operation on a table that does not exist or is not yet, or no longer, usable."""
    return ApiError("ResourceNotFoundException", "Requested resource not found")


def table_not_found(name: str) -> ApiError:
    """A control operation on a table that does not exist."""
    return ApiError("ResourceNotFoundException", f"Requested resource not found: Table: {name} not found")


def table_exists(name: str) -> ApiError:
    """CreateTable for a name that is taken."""
    return ApiError("ResourceInUseException", f"Table already exists: {name}")


def table_busy(name: str, status: str) -> ApiError:
    """DeleteTable for a table in transition; ``status`` is the table's (``CREATING``, ``DELETING``, ``UPDATING``)."""
    verb = {"CREATING": "created", "DELETING": "deleted"}.get(status, "updated")
    return ApiError(
        "ResourceInUseException",
        f"Attempt to change a resource which is still in use: Table is being {verb}: {name}",
    )


def indexes_busy() -> ApiError:
    """DeleteTable for a table with a global index in transition."""
    return ApiError(
        "ResourceInUseException",
        "Attempt to change a resource which is still in use: Cannot delete table while indexes are being created, "
        "updated, or deleted.",
    )


def table_protected() -> ApiError:
    """DeleteTable for a table with deletion protection."""
    return ApiError(
        "ValidationException",
        "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.",
    )
