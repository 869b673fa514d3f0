"""AWS Signature Version 4, both ways: :func:`verify` at the routers, :func:`sign` and :class:`Signer` in our clients.

A signature is an HMAC chain: key -> date -> region -> service -> "aws4_request" -> string to sign. The first four steps
depend only on the day, so the signing key is cached; what is left is two SHA-256 passes and one HMAC a request.
Error kinds and texts are DynamoDB's own.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from calendar import timegm
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from cluster.core.errors import ApiError

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_S = 15 * 60
"""How far a request's date may be from ours, in seconds, either way."""

PRESIGNED_S_MAX = 7 * 86_400
"""How long a signature in a query string may be good for."""

_CACHE_LIMIT = 1024
_QUERY_MARK = "X-Amz-Algorithm"
_QUERY_FIELDS = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date")

_sha256 = hashlib.sha256
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class Credential(NamedTuple):
    """What an Authorization header claims."""

    access_key: str
    date: str
    region: str
    service: str
    terminator: str
    signed_headers: tuple[str, ...]
    signed_text: str
    scope: str
    """Date, region, service and terminator, as they are signed."""


_signing_keys: dict[tuple[str, str, str, str], bytes] = {}
_macs: dict[bytes, tuple[Any, Any]] = {}
_credentials: dict[str, Credential] = {}
_epochs: dict[str, int] = {}


def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The day's key for a secret; cached (bounded)."""
    name = (secret, date, region, service)
    key = _signing_keys.get(name)
    if key is None:
        key = hmac.digest(b"AWS4" + secret.encode(), date.encode(), "sha256")
        for step in (region, service, "aws4_request"):
            key = hmac.digest(key, step.encode(), "sha256")
        if len(_signing_keys) >= _CACHE_LIMIT:
            _signing_keys.clear()
        _signing_keys[name] = key
    return key


def _mac(key: bytes, text: bytes) -> str:
    """HMAC-SHA256 in hex. What depends on the key alone, the states of both hashes after the padded key (RFC 2104), is
    kept: that is more than half of the work."""
    states = _macs.get(key)
    if states is None:
        padded = key.ljust(64, b"\0")  # signing keys are digests, shorter than a block
        states = _sha256(padded.translate(_INNER)), _sha256(padded.translate(_OUTER))
        if len(_macs) >= _CACHE_LIMIT:
            _macs.clear()
        _macs[key] = states
    inner, outer = states[0].copy(), states[1].copy()
    inner.update(text)
    outer.update(inner.digest())
    found: str = outer.hexdigest()
    return found


def verify(
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
    lookup_secret: Callable[[str], str | None],
    now: float,
    *,
    region: str | None = None,
    service: str = "dynamodb",
) -> str:
    """The access key that signed this request.

    ``headers`` have lower-case names; ``now`` is wall time in seconds since the epoch. ``lookup_secret`` answers
    None for an unknown key; what it raises comes through. With ``region`` given, a credential scoped to another region
    is refused. Raises :class:`ApiError`: MissingAuthenticationToken, IncompleteSignature, UnrecognizedClient or
    InvalidSignature (each ...Exception).
    """
    life_s = SKEW_S
    if _QUERY_MARK not in target:
        credential, signature = _parse(headers)
        stamp = headers.get("x-amz-date") or _iso_from_http(headers.get("date", ""))
    else:
        signed = _parse_target(target, headers)
        credential, signature = signed.parsed
        stamp, life_s, target = signed.stamp, signed.life_s, signed.target
    epoch = _epochs.get(stamp)
    if epoch is None or not now - life_s <= epoch <= now + SKEW_S:
        _check_date(stamp, now, life_s)
    if (
        credential.service != service
        or credential.terminator != "aws4_request"
        or not stamp.startswith(credential.date)
        or len(credential.date) != 8
        or (region is not None and credential.region != region)
    ):
        problem = _scope_problem(credential, stamp, region, service)
        if problem:
            raise ApiError("InvalidSignatureException", problem)
    secret = lookup_secret(credential.access_key)
    if secret is None:
        raise ApiError("UnrecognizedClientException", "The security token included in the request is invalid.")
    digest = _sha256(body).hexdigest()
    expected = _signature(method, target, headers, digest, credential, stamp, secret)
    if not hmac.compare_digest(expected, signature):
        name, _, port = headers.get("host", "").rpartition(":")
        if name and port.isdigit():  # some clients sign the host without its port, which AWS's endpoints do not have
            other = _signature(method, target, {**headers, "host": name}, digest, credential, stamp, secret)
            if hmac.compare_digest(other, signature):
                return credential.access_key
        raise ApiError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details.",
        )
    return credential.access_key


def _parse(headers: Mapping[str, str]) -> tuple[Credential, str]:
    text = headers.get("authorization")
    if not text or not text.startswith("AWS4-"):
        raise ApiError("MissingAuthenticationTokenException", "Request is missing Authentication Token")
    head, found, signature = text.rpartition("Signature=")
    credential = _credentials.get(head) if found else None
    if credential is not None and ("x-amz-date" in headers or "date" in headers):
        return credential, signature
    return _parse_slowly(text, headers)


def _parse_slowly(text: str, headers: Mapping[str, str]) -> tuple[Credential, str]:
    """Parse a header not seen before, or name everything that is missing from it, as AWS does in one message."""
    algorithm, _, rest = text.partition(" ")
    fields: dict[str, str] = {}
    for part in rest.replace(",", " ").split():  # commas, spaces or both stand between them
        name, _, value = part.partition("=")
        fields[name] = value
    problems = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if not fields.get(name)
    ]
    if "x-amz-date" not in headers and "date" not in headers:
        problems.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if problems:
        raise ApiError("IncompleteSignatureException", f"{' '.join(problems)} Authorization={text}")
    if algorithm != ALGORITHM:
        raise _wrong_algorithm(algorithm)
    credential = _credential(fields["Credential"], fields["SignedHeaders"])
    head, _, signature = text.rpartition("Signature=")
    if signature == fields["Signature"]:
        if len(_credentials) >= _CACHE_LIMIT:
            _credentials.clear()
        _credentials[head] = credential
    return credential, fields["Signature"]


def _credential(scope_text: str, signed: str) -> Credential:
    scope = scope_text.rsplit("/", 4)
    if len(scope) != 5:
        raise ApiError(
            "IncompleteSignatureException",
            f"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{scope_text}'",
        )
    names = tuple(signed.split(";"))
    if "host" not in names:
        raise ApiError(
            "InvalidSignatureException", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        )
    access_key, date, region, service, terminator = scope
    signed_scope = f"{date}/{region}/{service}/aws4_request"
    return Credential(access_key, date, region, service, terminator, names, signed, signed_scope)


class _SignedTarget(NamedTuple):
    """A request signed in its query string (a presigned URL)."""

    parsed: tuple[Credential, str]
    stamp: str
    life_s: int
    target: str
    """As it was signed: without the signature."""


def _parse_target(target: str, headers: Mapping[str, str]) -> _SignedTarget:
    """Read a signature in the query string; a target that only looks like one is left to the header."""
    path, _, query = target.partition("?")
    parts = [part.partition("=") for part in query.split("&") if part]
    fields = {name: unquote(value) for name, _, value in parts}
    if "X-Amz-Algorithm" not in fields:
        stamp = headers.get("x-amz-date") or _iso_from_http(headers.get("date", ""))
        return _SignedTarget(_parse(headers), stamp, SKEW_S, target)
    if "authorization" in headers:
        raise ApiError(
            "InvalidSignatureException",
            "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
        )
    missing = [name for name in _QUERY_FIELDS if not fields.get(name)]
    if missing:
        problems = " ".join(f"AWS query-string parameters must include '{name}'." for name in missing)
        raise ApiError("IncompleteSignatureException", f"{problems} Re-examine the query-string parameters.")
    if fields["X-Amz-Algorithm"] != ALGORITHM:
        raise _wrong_algorithm(fields["X-Amz-Algorithm"])
    life = fields.get("X-Amz-Expires", str(SKEW_S))
    if not (life.isascii() and life.isdigit()) or len(life) > 6 or int(life) > PRESIGNED_S_MAX:
        raise ApiError(
            "InvalidSignatureException", f"X-Amz-Expires must be a number of at most {PRESIGNED_S_MAX} seconds"
        )
    signed = "&".join(name + mark + value for name, mark, value in parts if name != "X-Amz-Signature")
    credential = _credential(fields["X-Amz-Credential"], fields["X-Amz-SignedHeaders"])
    return _SignedTarget((credential, fields["X-Amz-Signature"]), fields["X-Amz-Date"], int(life), f"{path}?{signed}")


def _wrong_algorithm(algorithm: str) -> ApiError:
    return ApiError(
        "IncompleteSignatureException", f"Unsupported AWS 'algorithm': '{algorithm}' (only {ALGORITHM} for now). "
    )


def _scope_problem(credential: Credential, stamp: str, region: str | None, service: str) -> str:
    problems = []
    if region is not None and credential.region != region:
        problems.append(f"Credential should be scoped to a valid region, not '{credential.region}'. ")
    if credential.service != service:
        problems.append(f"Credential should be scoped to correct service: '{service}'. ")
    if credential.terminator != "aws4_request":
        problems.append(
            f"Credential should be scoped with a valid terminator: 'aws4_request', not '{credential.terminator}'. "
        )
    if credential.date != stamp[:8]:
        problems.append(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{credential.date}' != '{stamp[:8]}', from '{stamp}'."
        )
    return "".join(problems)


def _epoch_of(stamp: str) -> int | None:
    """Seconds since the epoch of ``20260131T235959Z``; None where it is no such date. Clients sign many requests a
    second, so the last few stamps are remembered."""
    epoch = _epochs.get(stamp)
    if epoch is None:
        try:
            epoch = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
        except ValueError:
            return None
        if len(_epochs) >= _CACHE_LIMIT:
            _epochs.clear()
        _epochs[stamp] = epoch
    return epoch


def _iso_from_http(date: str) -> str:
    """``Sun, 06 Nov 1994 08:49:37 GMT`` as ``19941106T084937Z``; any other text as it is."""
    try:
        return time.strftime("%Y%m%dT%H%M%SZ", time.strptime(date, "%a, %d %b %Y %H:%M:%S GMT"))
    except ValueError:
        return date


def _check_date(stamp: str, now: float, life_s: int) -> None:
    epoch = _epoch_of(stamp)
    if epoch is None:
        raise ApiError(
            "IncompleteSignatureException",
            f"Date must be in ISO-8601 'basic format'. Got '{stamp}'. See http://en.wikipedia.org/wiki/ISO_8601",
        )
    if epoch < now - life_s:
        raise ApiError(
            "InvalidSignatureException",
            f"Signature expired: {stamp} is now earlier than {amz_date(now - life_s)} ({amz_date(now)} - "
            f"{life_s // 60} min.)",
        )
    if epoch > now + SKEW_S:
        raise ApiError(
            "InvalidSignatureException",
            f"Signature not yet current: {stamp} is still later than {amz_date(now + SKEW_S)} "
            f"({amz_date(now)} + 15 min.)",
        )


def _signature(
    method: str,
    target: str,
    headers: Mapping[str, str],
    payload_hash: str,
    credential: Credential,
    stamp: str,
    secret: str,
) -> str:
    if target == "/":
        lines = [method, "/", ""]
    else:
        path, _, query = target.partition("?")
        if (
            credential.service == "s3"
        ):  # whose objects' names are signed in AWS's own way of encoding, however they came
            path = quote(unquote_to_bytes(path), safe="/-_.~")
        lines = [method, path or "/", _canonical_query(query) if query else ""]
    for name in credential.signed_headers:
        value = headers.get(name, "")
        lines.append(f"{name}:{' '.join(value.split()) if '  ' in value else value.strip()}")
    lines.append(f"\n{credential.signed_text}\n{payload_hash}")
    canonical = "\n".join(lines)
    digest = _sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{stamp}\n{credential.scope}\n{digest}"
    return _mac(signing_key(secret, credential.date, credential.region, credential.service), text.encode())


def _canonical_query(query: str) -> str:
    """Sorted and encoded as AWS does it: clients may send ``%7E`` or ``+`` where they sign ``~`` or ``%20``."""
    parts = [part.partition("=") for part in query.split("&") if part]
    return "&".join(sorted(f"{_encoded(name)}={_encoded(value)}" for name, _, value in parts))


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="-_.~")


def amz_date(now: float) -> str:
    """Wall time in seconds since the epoch as ``20260131T235959Z``."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def sign(
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    access_key: str,
    secret_key: str,
    region: str,
    now: float,
    service: str = "dynamodb",
) -> dict[str, str]:
    """The headers to send: those given (lower-case names, ``host`` among them), ``x-amz-date`` and ``authorization``.

    Every header given is signed. ``now`` is wall time in seconds since the epoch.
    """
    stamp = amz_date(now)
    signed = {**headers, "x-amz-date": stamp}
    names = tuple(sorted(signed))
    text = ";".join(names)
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    credential = Credential(access_key, stamp[:8], region, service, "aws4_request", names, text, scope)
    signature = _signature(method, target, signed, _sha256(body).hexdigest(), credential, stamp, secret_key)
    claim = f"Credential={access_key}/{scope}, SignedHeaders={text}"
    signed["authorization"] = f"{ALGORITHM} {claim}, Signature={signature}"
    return signed


class Signer:
    """Builds whole signed DynamoDB requests for one endpoint, fast: what does not change is kept as bytes.

    One instance per endpoint and credential; not tied to a connection and without state that would forbid sharing.
    """

    _SIGNED = "content-type;host;x-amz-date;x-amz-target"

    def __init__(self, access_key: str, secret_key: str, region: str, host: str, service: str = "dynamodb") -> None:
        """``host`` is the value of the Host header, with the port unless it is 80."""
        self._access_key = access_key
        self._secret_key = secret_key
        self._region = region
        self._service = service
        self._host = host
        self._second = -1
        self._stamp = ""
        self._key = b""
        self._prefix = self._authorization = b""
        self._made: dict[str, tuple[bytes, bytes]] = {}
        """Per operation, for this second: what is signed before the body's digest, and the request's head."""

    def request(self, operation: str, body: bytes, now: float) -> bytes:
        """The bytes of ``POST /`` for an operation such as ``PutItem``; ``now`` is wall time in seconds."""
        second = int(now)
        if second != self._second:
            self._new_second(second)
        canonical, head = self._made.get(operation) or self._make(operation)
        digest = _sha256(canonical + _sha256(body).hexdigest().encode()).hexdigest()
        signature = _mac(self._key, self._prefix + digest.encode()).encode()
        return b"%b%d%b%b\r\n\r\n%b" % (head, len(body), self._authorization, signature, body)

    def _make(self, operation: str) -> tuple[bytes, bytes]:
        made = self._made[operation] = (
            f"POST\n/\n\ncontent-type:application/x-amz-json-1.0\nhost:{self._host}\nx-amz-date:{self._stamp}\n"
            f"x-amz-target:DynamoDB_20120810.{operation}\n\n{self._SIGNED}\n".encode(),
            f"POST / HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/x-amz-json-1.0\r\n"
            f"x-amz-date: {self._stamp}\r\nx-amz-target: DynamoDB_20120810.{operation}\r\ncontent-length: ".encode(),
        )
        return made

    def _new_second(self, second: int) -> None:
        stamp = amz_date(second)
        date = stamp[:8]
        scope = f"{date}/{self._region}/{self._service}/aws4_request"
        self._key = signing_key(self._secret_key, date, self._region, self._service)
        self._prefix = f"{ALGORITHM}\n{stamp}\n{scope}\n".encode()
        claim = f"Credential={self._access_key}/{scope}, SignedHeaders={self._SIGNED}"
        self._authorization = f"\r\nauthorization: {ALGORITHM} {claim}, Signature=".encode()
        self._made.clear()
        self._stamp = stamp
        self._second = second
