"""What surrounds an operation: requests that carry none, the order of refusals, and the form of every answer."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.core.errors import ApiError
from cluster.wire.encoding import COMPRESSED_FROM_BYTES, choose, compress
from cluster.wire.http import Request, dynamodb_response, response
from cluster.wire.json import read_body

JSON = "application/x-amz-json-1.0"
PLAIN_JSON = "application/json"
CONTENT_TYPES = frozenset((JSON, PLAIN_JSON))

_UNKNOWN = b"<UnknownOperationException/>\n"
_PREFLIGHT_SECONDS = 172_800
_EXPOSED = "x-amzn-RequestId,x-amzn-ErrorType,x-amzn-ErrorMessage,x-amz-crc32,Date"
_PARSED_FOR_STRANGERS_BYTES = 64 * 1024
"""Bodies up to this size are parsed before their sender is known to be anybody."""

_AUTHENTICATION = frozenset(
    (
        "UnknownOperationException",
        "MissingAuthenticationTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    )
)


def answer_outsider(request: Request, request_id: str, name: str = "") -> bytes | None:
    """The whole response to a request that cannot carry an operation: another method than POST, or a body of another
    type than DynamoDB's JSON. None for a request to go on with. ``name`` is what we are called where a client does not
    say."""
    method = request.method
    if method == "POST":
        headers = request.headers
        if headers.get("content-type") == JSON or not request.body or _content_type(headers) in CONTENT_TYPES:
            return None
    elif method == "GET":
        return _health(request, request_id, name)
    elif method == "OPTIONS" and "origin" in request.headers:
        return response(200, _preflight(request, request_id), b"", keep_alive=request.keep_alive)
    headers = {"x-amzn-RequestId": request_id, "x-amz-crc32": "3552371480", **_cors(request)}
    return response(404, headers, _UNKNOWN, keep_alive=request.keep_alive)


def _content_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _health(request: Request, request_id: str, name: str) -> bytes:
    """What DynamoDB's endpoints answer to a bare GET; load balancers and people ask it."""
    known = request.target in ("/", "/ping")
    body = f"healthy: {request.headers.get('host', name)} ".encode() if known else b"not found\n"
    return dynamodb_response(
        200 if known else 404,
        body,
        request_id,
        keep_alive=request.keep_alive,
        content_type="text/plain",
        more=_cors(request),
    )


def _cors(request: Request) -> dict[str, str]:
    """CORS: browsers may call DynamoDB from anywhere; the signature is what protects it."""
    if "origin" not in request.headers:
        return {}
    return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": _EXPOSED}


def _preflight(request: Request, request_id: str) -> dict[str, str]:
    headers = {"x-amzn-RequestId": request_id, **_cors(request)}
    for asked, granted in (
        ("access-control-request-headers", "Access-Control-Allow-Headers"),
        ("access-control-request-method", "Access-Control-Allow-Methods"),
    ):
        if asked in request.headers:
            headers[granted] = request.headers[asked]
    headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
    return headers


def first_refusal(request: Request, error: ApiError) -> ApiError:
    """The refusal that comes first: a body that is no JSON is complained of before an unknown operation or sender."""
    if error.kind in _AUTHENTICATION and 0 < len(request.body) <= _PARSED_FOR_STRANGERS_BYTES:
        if "content-encoding" in request.headers:
            return error
        try:
            read_body(request.body)
        except ApiError as earlier:
            return earlier
    return error


def answer(request: Request, status: int, body: bytes, request_id: str, date: str = "") -> bytes:
    """The whole response to an operation: of the request's content type, coded as its sender asked for."""
    headers = request.headers
    content_type = JSON
    if headers.get("content-type") != JSON and _content_type(headers) != JSON:
        content_type = PLAIN_JSON
    more: dict[str, str] | None = None
    if "origin" in headers:
        more = _cors(request)
    if len(body) >= COMPRESSED_FROM_BYTES and "accept-encoding" in headers:
        coding = choose(headers["accept-encoding"])
        if coding is not None:
            body = compress(body, coding)
            more = {**(more or {}), "Content-Encoding": coding}
    return dynamodb_response(
        status, body, request_id, keep_alive=request.keep_alive, content_type=content_type, date=date, more=more
    )
