"""A minimal S3 server for obstore that honours or ignores conditional puts, and counts requests."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.store.s3_server import HOST


class TinyS3:
    """State of the server, and its requests.

    Attributes
    ----------
    honours : bool
        Whether the server supports ``If-None-Match``.
    objects : dict of str to bytes
        By key, bucket included.
    requests : list of (str, str)
        Method and key, in order.
    silent : callable
        Called with a key; True if the server must never answer requests for it. By default no key is silent.
    refusal : (int, bytes) or None
        Status and body of the answer to every GET.
    kept_waiting : Event
        Set when a request for a silent key has arrived.
    """

    def __init__(self, *, honours: bool) -> None:
        self.honours = honours
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.url = ""
        self.silent: Callable[[str], bool] = lambda key: False
        self.refusal: tuple[int, bytes] | None = None
        self.kept_waiting = threading.Event()
        self.ended = threading.Event()

    def options(self) -> dict[str, Any]:
        """Return the options with which `ObjectStorage.from_url` reaches the server."""
        return {
            "endpoint": self.url,
            "access_key_id": "any",
            "secret_access_key": "any",
            "region": "us-east-1",
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        }

    def probes(self) -> int:
        """Return the number of puts that were probes, and clear the list of requests."""
        count = sum(key.endswith("/.probe") for _, key in self.requests)
        self.requests.clear()
        return count

    def listing(self, query: dict[str, list[str]], bucket: str) -> bytes:
        """Answer ListObjectsV2."""
        prefix = query.get("prefix", [""])[0]
        delimiter = query.get("delimiter", [""])[0]
        keys, folders = [], set()
        for key in sorted(one.removeprefix(f"{bucket}/") for one in self.objects):
            rest = key.removeprefix(prefix)
            if not key.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                keys.append(key)
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>x</ETag><Size>{len(self.objects[f'{bucket}/{key}'])}</Size></Contents>"
            for key in keys
        )
        common = "".join(
            f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders)
        )
        return (
            f"<ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys)}</KeyCount>"
            f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>"
        ).encode()


@contextlib.contextmanager
def tiny_s3(*, honours: bool) -> Iterator[TinyS3]:
    """Run a server on the loopback interface."""
    held = TinyS3(honours=honours)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            headers = {"Content_Length": str(len(body)), "ETag": '"x"', **headers}
            headers.setdefault("Last_Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def key(self) -> str:
            key = unquote(urlsplit(self.path).path).strip("/")
            held.requests.append((self.command, key))
            return key

        def do_PUT(self) -> None:
            key, body = self.key(), self.rfile.read(int(self.headers["Content-Length"] or 0))
            with lock:
                if held.honours and self.headers["If-None-Match"] == "*" and key in held.objects:
                    self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                    return
                held.objects[key] = body
            self.answer(200)

        def do_GET(self) -> None:
            key, query = self.key(), parse_qs(urlsplit(self.path).query)
            if held.silent(key):
                held.kept_waiting.set()
                held.ended.wait()
                return
            if held.refusal is not None:
                self.answer(*held.refusal)
                return
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
            if "list-type" in query:
                self.answer(200, held.listing(query, key))
            elif key not in held.objects:
                self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            elif wanted:
                body, first, last = held.objects[key], int(wanted[1]), int(wanted[2])
                self.answer(206, body[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(body)}")
            else:
                self.answer(200, held.objects[key])

        def do_DELETE(self) -> None:
            held.objects.pop(self.key(), None)
            self.answer(204)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    held.url = f"http://{HOST}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield held
    finally:
        held.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
