"""Sends an administrator's requests to the API server over one connection, so that they are cheap.

An API server ends the connection when it restarts or when the connection is idle.
"""

import base64
import json
import ssl
import tempfile
import time
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

IDLE_SECONDS = 5.0


class Refused(Exception):
    """The API server refused the request."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


class Api:
    """Sends requests with the client certificate or token of a kubeconfig. Only one thread may use it."""

    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        self.url: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.trust = ssl.create_default_context(cadata=authority)
        mine = ssl.create_default_context(cadata=authority)
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        if not self._headers:
            with tempfile.NamedTemporaryFile() as pair:
                for part in ("client-certificate-data", "client-key-data"):
                    pair.write(base64.b64decode(user[part]))
                pair.flush()
                mine.load_cert_chain(pair.name)
        self._used = 0.0
        self._connection = HTTPSConnection(urlsplit(self.url).netloc, context=mine, timeout=30)

    def get(self, path: str) -> Any:
        """Returns the object, or None if it is missing. Without an answer, raises OSError or HTTPException."""
        try:
            return self.send("GET", path)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def send(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        data = None if body is None else json.dumps(body)
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._connection.close()
        self._used = time.monotonic()
        try:
            self._connection.request(method, path, data, {**self._headers, "Content-Type": content})
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, HTTPException):
            # The next request opens a new connection.
            self._connection.close()
            raise
        if response.status >= 300:
            raise Refused(response.status, text[:500].decode(errors="replace"))
        return json.loads(text)

    def close(self) -> None:
        self._connection.close()
