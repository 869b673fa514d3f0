"""What of S3's protocol an archive needs, sans-IO: a request is told as an :class:`Ask`, answers are made of it.

Objects by PUT, GET, HEAD and DELETE with path-style URLs, and ListObjectsV2, HeadBucket, ListBuckets. Whatever else
there is in S3 (multipart, ranges, versions, tags) is refused by name. Requests are signed (SigV4, service ``s3``), and
every checksum that comes with a body is held against it before a byte is kept.

An object's key is a path of plain segments, as ours are: the store keeps it as a file of that path.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

import google_crc32c

from cluster.core.errors import ApiError
from cluster.wire import sigv4
from cluster.wire.http import Request, response

if TYPE_CHECKING:
    from cluster.node.world import StoredObject

SERVICE: Final = "s3"
PAGE_KEYS: Final = 1000
"""Keys in one answer of a listing, at most; S3's own limit."""
SEGMENT_BYTES_MAX: Final = 240
"""Of a key's segment: what a file's name can hold, and room for more."""
KEY_BYTES_MAX: Final = 1024
OTHERWISE_SIGNED: Final = ("UNSIGNED-PAYLOAD", "STREAMING-")
LISTING: Final = frozenset(
    (
        "list-type",
        "prefix",
        "delimiter",
        "max-keys",
        "continuation-token",
        "start-after",
        "encoding-type",
        "fetch-owner",
    )
)
NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"

CHECKSUMS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "content-md5": lambda body: hashlib.md5(body, usedforsecurity=False).digest(),
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "x-amz-checksum-crc32c": lambda body: int(google_crc32c.value(body)).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
}
"""Header to what it must say of the body, before base64."""


class Refused(Exception):
    """A request that is answered with an error of S3's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Listing(NamedTuple):
    """A ListObjectsV2: keys that begin with ``prefix`` and come after ``after``, ``keys_max`` of them."""

    prefix: str
    delimiter: str
    after: str
    keys_max: int
    encoded: bool
    """Whether keys are percent-encoded in the answer, so that any can be told in XML."""


class Ask(NamedTuple):
    """What a request wants. ``what`` is put, get, head, delete, list, bucket or buckets."""

    what: str
    bucket: str = ""
    key: str = ""
    body: bytes = b""
    listing: Listing | None = None


# --- requests ---------------------------------------------------------------------------------------------------------


def check_signature(request: Request, access_key: str, secret_key: str, region: str, wall_s: float) -> None:
    """Raises :class:`Refused` unless the holder of the secret signed this request, body included."""
    claimed = request.headers.get("x-amz-content-sha256", "")
    if claimed.startswith(OTHERWISE_SIGNED):
        raise Refused(501, "NotImplemented", f"Bodies are signed whole here, not as {claimed}.")
    if claimed and claimed != hashlib.sha256(request.body).hexdigest():
        raise Refused(
            400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what came."
        )

    def secret_of(key: str) -> str | None:
        return secret_key if hmac.compare_digest(key.encode(), access_key.encode()) else None

    try:
        sigv4.verify(
            *(request.method, request.target, request.headers, request.body, secret_of, wall_s),
            region=region, service=SERVICE,
        )  # fmt: skip
    except ApiError as error:
        raise _refusal(error) from error


def _refusal(error: ApiError) -> Refused:
    match error.kind:
        case "UnrecognizedClientException":
            return Refused(403, "InvalidAccessKeyId", "The access key id you provided does not exist in our records.")
        case "MissingAuthenticationTokenException":
            return Refused(403, "AccessDenied", "Requests must be signed (AWS4-HMAC-SHA256).")
        case "IncompleteSignatureException":
            return Refused(400, "AuthorizationHeaderMalformed", error.message)
        case _:
            return Refused(403, "SignatureDoesNotMatch", error.message)


def parse(request: Request) -> Ask:
    """What a request wants. Raises :class:`Refused` for what is not served, and for a body that is not what its
    checksums say."""
    path, _, query = request.target.partition("?")
    try:
        bucket, _, key = unquote(path, errors="strict").lstrip("/").partition("/")
    except UnicodeDecodeError:
        raise Refused(400, "InvalidURI", "A key is UTF-8, percent-encoded.") from None
    parameters = {
        name: value for name, value in parse_qsl(query, keep_blank_values=True) if not name.startswith("X-Amz-")
    }
    parameters.pop("x-id", None)  # which operation it is, for people who read access logs
    if not bucket:
        return _nothing_else(Ask("buckets"), request, parameters, "GET")
    if not key:
        if request.method == "GET" and parameters.get("list-type") == "2" and parameters.keys() <= LISTING:
            return Ask("list", bucket, listing=_listing(parameters))
        return _nothing_else(Ask("bucket", bucket), request, parameters, "HEAD")
    _check_key(key)
    if request.method not in ("PUT", "GET", "HEAD", "DELETE") or parameters or "x-amz-copy-source" in request.headers:
        raise _unserved(request)
    if request.method == "PUT":
        _check_body(request)
    return Ask(request.method.lower(), bucket, key, request.body)


def _nothing_else(ask: Ask, request: Request, parameters: Mapping[str, str], method: str) -> Ask:
    if request.method != method or parameters:
        raise _unserved(request)
    return ask


def _unserved(request: Request) -> Refused:
    asked = f"{request.method} {request.target.partition('?')[0]}"
    served = "objects are put, got, asked for (HEAD) and deleted, buckets are listed (list-type=2)"
    return Refused(501, "NotImplemented", f"{asked} with these parameters is not served here: {served}.")


def _check_key(key: str) -> None:
    segments = key.split("/")
    if len(key.encode()) > KEY_BYTES_MAX or any(len(segment.encode()) > SEGMENT_BYTES_MAX for segment in segments):
        raise Refused(
            400, "KeyTooLongError", f"A key has {KEY_BYTES_MAX} bytes at most, its segments {SEGMENT_BYTES_MAX}."
        )
    if any(segment in ("", ".", "..") for segment in segments) or not key.isprintable():
        raise Refused(400, "InvalidURI", "A key is a path here: no empty segments, '.' or '..', nothing unprintable.")


def _check_body(request: Request) -> None:
    for header, sum_of in CHECKSUMS.items():
        claimed = request.headers.get(header)
        if claimed is not None and claimed != base64.b64encode(sum_of(request.body)).decode():
            raise Refused(400, "BadDigest", f"The body that came is not the one that {header} sums up.")


def _listing(parameters: Mapping[str, str]) -> Listing:
    delimiter, asked = parameters.get("delimiter", ""), parameters.get("max-keys", str(PAGE_KEYS))
    if not asked.isascii() or not asked.isdigit() or delimiter not in ("", "/"):
        raise Refused(400, "InvalidArgument", "max-keys is a number; keys are divided at '/' or not at all.")
    token = parameters.get("continuation-token")
    try:
        after = base64.urlsafe_b64decode(token).decode() if token is not None else parameters.get("start-after", "")
    except ValueError:
        raise Refused(400, "InvalidArgument", "The continuation token is none of ours.") from None
    encoded = parameters.get("encoding-type") == "url"
    return Listing(parameters.get("prefix", ""), delimiter, after, min(int(asked[:9]), PAGE_KEYS), encoded)


# --- answers ----------------------------------------------------------------------------------------------------------


def etag_of(body: bytes) -> str:
    """An object's ETag: the MD5 of its bytes, as S3's is for an object that was put in one piece."""
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def stored_answer(body: bytes, *, keep_alive: bool) -> bytes:
    """The answer to a PUT: by its ETag the caller sees that what is kept is what it sent."""
    return response(200, {"ETag": etag_of(body)}, b"", keep_alive=keep_alive)


def object_answer(body: bytes, at_s: float, *, head: bool, keep_alive: bool) -> bytes:
    """The answer to a GET, or to a HEAD, which is the same without the bytes."""
    about = {
        "ETag": etag_of(body),
        "Last-Modified": formatdate(at_s, usegmt=True),
        "Content-Type": "application/octet-stream",
    }
    whole = response(200, about, body, keep_alive=keep_alive)
    return whole[: len(whole) - len(body)] if head else whole


def empty_answer(status: int, *, keep_alive: bool) -> bytes:
    return response(status, {}, b"", keep_alive=keep_alive)


def error_answer(refused: Refused, request: Request) -> bytes:
    """An error as S3 tells it; to a HEAD by its status alone."""
    path = request.target.partition("?")[0]
    body = _xml("Error", f"<Code>{refused.code}</Code><Message>{escape(str(refused))}</Message>"
                f"<Resource>{escape(path)}</Resource>", "")  # fmt: skip
    keep_alive = request.keep_alive
    if request.method == "HEAD":
        return empty_answer(refused.status, keep_alive=keep_alive)
    return response(refused.status, {"Content-Type": "application/xml"}, body, keep_alive=keep_alive)


def buckets_answer(buckets: Iterable[str], *, keep_alive: bool) -> bytes:
    inner = "".join(f"<Bucket><Name>{escape(name)}</Name></Bucket>" for name in buckets)
    body = _xml("ListAllMyBucketsResult", f"<Buckets>{inner}</Buckets>")
    return response(200, {"Content-Type": "application/xml"}, body, keep_alive=keep_alive)


def listing_answer(bucket: str, listing: Listing, objects: Sequence[StoredObject], *, keep_alive: bool) -> bytes:
    """A page of a listing. ``objects`` are all that begin with the prefix, in the order of their keys' UTF-8."""
    rows, folded, last, more = _page(listing, objects)
    tell = (lambda text: quote(text, safe="/")) if listing.encoded else escape
    token = base64.urlsafe_b64encode(last.encode()).decode() if more else ""
    inner = [
        f"<Name>{escape(bucket)}</Name><Prefix>{tell(listing.prefix)}</Prefix><MaxKeys>{listing.keys_max}</MaxKeys>",
        f"<KeyCount>{len(rows) + len(folded)}</KeyCount><IsTruncated>{'true' if more else 'false'}</IsTruncated>",
        f"<Delimiter>{listing.delimiter}</Delimiter>" if listing.delimiter else "",
        "<EncodingType>url</EncodingType>" if listing.encoded else "",
        f"<NextContinuationToken>{token}</NextContinuationToken>" if more else "",
        *(
            f"<Contents><Key>{tell(one.key)}</Key><LastModified>{_iso(one.at_s)}</LastModified><Size>{one.bytes}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for one in rows
        ),
        *(f"<CommonPrefixes><Prefix>{tell(prefix)}</Prefix></CommonPrefixes>" for prefix in folded),
    ]
    body = _xml("ListBucketResult", "".join(inner))
    return response(200, {"Content-Type": "application/xml"}, body, keep_alive=keep_alive)


def _page(listing: Listing, objects: Sequence[StoredObject]) -> tuple[list[StoredObject], list[str], str, bool]:
    """The objects and the common prefixes of this page, where it ends, and whether there is more."""
    rows: list[StoredObject] = []
    folded: list[str] = []
    last = listing.after
    for one in objects:
        head, mark, _ = (
            one.key[len(listing.prefix) :].partition(listing.delimiter) if listing.delimiter else ("", "", "")
        )
        prefix = listing.prefix + head + mark if mark else ""
        if not _after(one.key, listing.after) or (prefix and listing.after.startswith(prefix)):
            continue
        if folded and prefix == folded[-1]:
            last = one.key
            continue
        if len(rows) + len(folded) >= listing.keys_max:
            return rows, folded, last, True
        if prefix:
            folded.append(prefix)
        else:
            rows.append(one)
        last = one.key
    return rows, folded, last, False


def _after(key: str, other: str) -> bool:
    return key.encode() > other.encode()


def _iso(at_s: float) -> str:
    stamp = sigv4.amz_date(at_s)
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:11]}:{stamp[11:13]}:{stamp[13:15]}.000Z"


def _xml(name: str, inner: str, namespace: str = f' xmlns="{NAMESPACE}"') -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}{namespace}>{inner}</{name}>'.encode()
