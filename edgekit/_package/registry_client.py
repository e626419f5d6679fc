"""The part of the OCI distribution API that a push and a pull need, on the standard library's HTTP client.

Source: opencontainers/distribution-spec 1.1.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import ssl
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

from edgekit._strict_json import parse_json
from edgekit.errors import BundleError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PLACE = re.compile(
    r"oci://(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?)/"
    r"(?P<repository>[a-z0-9]+([._/-][a-z0-9]+)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_LOOPBACK = ("localhost", "127.0.0.1")
_SECONDS = 60
_CHUNK = 1 << 20
_MOVED = (301, 302, 303, 307, 308)
_MOST_HOPS = 5


@dataclass(frozen=True)
class Place:
    """Where in which registry: `oci://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST]`."""

    host: str
    repository: str
    reference: str

    def __str__(self) -> str:
        mark = "@" if self.reference.startswith("sha256:") else ":"
        return f"oci://{self.host}/{self.repository}{mark}{self.reference}"


def parse_place(text: str) -> Place:
    """UsageError for what is no such place."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"'{text[:200]}' is no place in a registry", fix="write oci://HOST[:PORT]/REPOSITORY[:TAG]"
        )
    return Place(found["host"], found["repository"], found["tag"] or found["digest"] or "latest")


@dataclass(frozen=True)
class Request:
    """One request below the repository's address, or to a whole URL.

    wanted: the statuses that are no failure; most: bytes of the body that are read at most, or, with `out`,
    that the body must have just as many of to be saved there.
    """

    method: str
    path: str
    wanted: tuple[int, ...]
    data: Path | bytes | None = None
    media_type: str = "application/octet-stream"
    accept: str = "*/*"
    most: int = 1 << 20
    out: Path | None = None


@dataclass(frozen=True)
class Answer:
    """Status, headers (lower-case names) and body of one response; location: the whole URL it leads to."""

    status: int
    headers: Mapping[str, str]
    location: str
    body: bytes


class Registry:
    """One repository of one registry; plain HTTP on loopback, HTTPS elsewhere.

    Names and passwords come from Docker's own config.json (`docker login`), never from a command line.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        plain = place.host.partition(":")[0] in _LOOPBACK
        self._base = f"{'http' if plain else 'https'}://{place.host}/v2/{place.repository}/"
        self._authorization = ""
        self._login = _read_login(place.host)

    def has_blob(self, digest: str) -> bool:
        return self._ask(Request("HEAD", f"blobs/{digest}", (200, 404))).status == 200

    def push_blob(self, digest: str, data: Path | bytes) -> None:
        """One upload in one piece; the registry keeps it only if its digest is right."""
        begun = self._ask(Request("POST", "blobs/uploads/", (202,)))
        place = _add_query(begun.location, {"digest": digest})
        self._ask(Request("PUT", place, (201,), data))

    def push_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        self._ask(Request("PUT", f"manifests/{reference}", (201,), data, media_type))

    def pull_manifest(self, reference: str, media_type: str, most: int) -> bytes:
        """OutputError for a manifest of more than `most` bytes."""
        request = Request("GET", f"manifests/{reference}", (200,), accept=media_type, most=most + 1)
        body = self._ask(request).body
        if len(body) > most:
            raise OutputError(f"{self._place}: its manifest is larger than {most} bytes", fix="do not use it")
        return body

    def pull_blob(self, digest: str, size: int, out: Path) -> None:
        """Write a blob of just `size` bytes to `out`; BundleError where it has another size or digest."""
        self._ask(Request("GET", f"blobs/{digest}", (200,), most=size, out=out))
        with out.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if f"sha256:{found}" != digest:
            raise BundleError(f"{self._place}: a layer is not what its digest says", fix="do not use it")

    def _ask(self, request: Request) -> Answer:
        """One request, asked again with a token or password where the registry demands it.

        A token is for one scope and some minutes, so a later request may be asked for another.
        """
        answer = self._follow(request)
        if answer.status == 401:
            self._authorization = self._authorize(answer.headers.get("www-authenticate", ""))
            answer = self._follow(request)
        if answer.status not in request.wanted:
            said = answer.body[:200].decode(errors="replace").strip()
            raise OutputError(
                f"{self._place}: the registry answers {answer.status} to {request.method}: {said}",
                fix=_way_out(answer.status),
            )
        return answer

    def _follow(self, request: Request, hops: int = _MOST_HOPS) -> Answer:
        """One request, and where its answer says that a blob lies elsewhere, the one there.

        Only the registry itself is shown the authorization; HTTPS is never left for plain HTTP.
        """
        own, place = urlsplit(self._base), urlsplit(urljoin(self._base, request.path))
        if own.scheme == "https" and place.scheme != "https":
            raise _refuse_plain(self._place, place.geturl())
        known = (place.scheme, place.netloc) == (own.scheme, own.netloc)
        answer = self._send(request, self._authorization if known else "")
        if request.method not in ("GET", "HEAD") or answer.status not in _MOVED or not hops:
            return answer
        return self._follow(replace(request, path=answer.location), hops - 1)

    def _send(self, request: Request, authorization: str) -> Answer:
        url = urljoin(self._base, request.path)
        headers = {"accept": request.accept}
        if authorization:
            headers["authorization"] = authorization
        with (
            _told(self._place),
            _open_body(request.data) as (body, size),
            closing(_connect(url)) as connection,
        ):
            if body is not None:
                headers |= {"content-type": request.media_type, "content-length": str(size)}
            split = urlsplit(url)
            target = split.path + (f"?{split.query}" if split.query else "")
            connection.request(request.method, target, body=body, headers=headers)
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            location = urljoin(url, told.get("location", ""))
            if request.out is not None and response.status in request.wanted:
                _save(response, request.out, request.most)
                return Answer(response.status, told, location, b"")
            return Answer(response.status, told, location, response.read(request.most))

    def _authorize(self, challenge: str) -> str:
        """The Authorization header that a challenge asks for: Basic, or a Bearer token fetched with it."""
        basic = f"Basic {base64.b64encode(self._login.encode()).decode()}" if self._login else ""
        kind, _, rest = challenge.partition(" ")
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if kind.lower() != "bearer" or "realm" not in fields:
            return basic
        query = {name: fields[name] for name in ("service", "scope") if name in fields}
        with _told(self._place):
            realm = _add_query(fields["realm"], query)
        if self._base.startswith("https:") and not realm.startswith("https:"):
            raise _refuse_plain(self._place, realm)
        token = self._send(Request("GET", realm, (200,)), basic)
        try:
            found = parse_json(token.body)
            return f"Bearer {found.get('token') or found['access_token']}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError(f"{self._place}: no token from {realm}", fix=_way_out(401)) from error


def _add_query(url: str, fields: Mapping[str, str]) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(fields)}"


def _connect(url: str) -> http.client.HTTPConnection:
    split = urlsplit(url)
    if split.scheme == "https":
        return http.client.HTTPSConnection(
            split.netloc, timeout=_SECONDS, context=ssl.create_default_context()
        )
    return http.client.HTTPConnection(split.netloc, timeout=_SECONDS)


@contextmanager
def _open_body(data: Path | bytes | None) -> Iterator[tuple[Any, int]]:
    if isinstance(data, Path):
        with data.open("rb") as file:
            yield file, data.stat().st_size
    else:
        yield data, len(data or b"")


def _save(response: http.client.HTTPResponse, out: Path, size: int) -> None:
    left = size
    with out.open("wb") as file:
        while chunk := response.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            file.write(chunk)
    if left:
        raise OSError(f"a blob of {size} bytes came with {size - left}")


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """A connection that fails or breaks off, as one readable error."""
    try:
        yield
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise OutputError(
            f"{place}: the registry cannot be reached or broke off ({reason})",
            fix="run the same command again: it sends only the rest, and nothing is half published",
        ) from error


def _read_login(host: str) -> str:
    """`name:password` of `docker login HOST`; "" where there is none."""
    folder = os.environ.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["auths"][host]["auth"]
        return base64.b64decode(found).decode()
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _refuse_plain(place: Place, url: str) -> OutputError:
    return OutputError(
        f"{place}: the registry leads to {url[:200]}, which is not HTTPS", fix="ask who runs the registry"
    )


def _way_out(status: int) -> str:
    if status in (401, 403):
        return "log in with `docker login HOST`, or ask for the right to push there"
    if status == 404:
        return "check the repository and tag"
    return "see the registry's log; nothing is half published"
