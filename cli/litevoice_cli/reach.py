"""How the operator is reached: by its URL, or through the API server as whoever the kubeconfig is. The only module that
knows the `kubernetes` package."""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from litevoice_contracts.operator_api import AUDIENCE, TOKEN_HEADER

TIMEOUT_SECONDS = 20.0
TOKEN_SECONDS = 600
RENEW_SECONDS = 300
CHUNK_BYTES = 64 * 1024
PORT = 9090


class CannotAsk(Exception):  # noqa: N818 - reads as what it is
    """Says which option or permission is missing."""


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer of any status, piece by piece as it comes. An OSError ends `chunks` when it breaks off. `headers`: by
    their names in lower case."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


class Reach(Protocol):
    def ask(self, path: str, query: Mapping[str, str], method: str = "GET") -> bytes:
        """The body of the answer. Raises CannotAsk."""

    def stream(self, path: str, query: Mapping[str, str]) -> Stream:
        """The answer to a GET. Raises CannotAsk when there is none."""


class ByUrl:
    """`url`: of the operator's port 9090, a port-forward as a rule, to which no proxy leads."""

    def __init__(self, url: str, token: str) -> None:
        try:
            parts = urlsplit(url)
            host = parts.hostname if parts.scheme in ("http", "https") and parts.port != 0 else None
        except ValueError:
            host = None
        if not host:
            raise CannotAsk(f"--url: expected http://HOST:PORT, got {url!r}")
        token = token.strip()
        if not token.isascii() or not token.isprintable():
            raise CannotAsk("--token or LITEVOICE_TOKEN: expected one line of ASCII, as kubectl create token prints it")
        if not token:
            raise CannotAsk(
                "--token or LITEVOICE_TOKEN: expected a token with --url; make one: "
                f"kubectl create token litevoice-operator-viewer -n litevoice-system --audience {AUDIENCE}; "
                "for drain, move and heal, of litevoice-operator-manager"
            )
        self._url = url.rstrip("/")
        self._token = token
        here = host == "localhost" or host.startswith("127.") or host == "::1"
        direct = [urllib.request.ProxyHandler({})] if here else []
        self._opener = urllib.request.build_opener(_NoRedirects, *direct)

    def ask(self, path: str, query: Mapping[str, str], method: str = "GET") -> bytes:
        url, headers = f"{self._url}{path}?{urlencode(query)}", {TOKEN_HEADER: self._token}
        request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - http, checked above
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            raise CannotAsk(refusal(error.code, error.read())) from error
        except (OSError, HTTPException) as error:
            raise CannotAsk(self._nobody(error)) from error

    def stream(self, path: str, query: Mapping[str, str]) -> Stream:
        url, headers = f"{self._url}{path}?{urlencode(query)}", {TOKEN_HEADER: self._token}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http, checked above
        try:
            answer = self._opener.open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            return Stream(error.code, _lower(error.headers), iter([error.read()]))
        except (OSError, HTTPException) as error:
            raise CannotAsk(self._nobody(error)) from error
        return Stream(answer.status, _lower(answer.headers), _read(answer))

    def _nobody(self, error: Exception) -> str:
        if isinstance(error, HTTPException):
            return f"--url: what answers at {self._url} does not speak HTTP, or TLS, as the URL says: {error!r}"
        return f"--url: nobody answers at {self._url}: {error}"


class ByKubeconfig:
    """Makes a token of a ServiceAccount, which ends after ten minutes and is worth nothing elsewhere, and asks the
    operator through the API server's proxy; the pod that acts, when another one has answered. `role`: viewer or
    manager."""

    def __init__(self, context: str, namespace: str, operator: str, role: str) -> None:
        from kubernetes import client, config

        logging.getLogger("urllib3").setLevel(
            logging.ERROR
        )  # it tells of each attempt, and the last one's error says all
        try:
            config.load_kube_config(context=context or None)
        except Exception as error:
            raise CannotAsk(f"--context: the kubeconfig cannot be used: {error}") from error
        self._client = client.ApiClient()
        self._namespace, self._operator = namespace, operator
        self._account = f"{operator}-{role}"
        self._token, self._token_at = self._new_token(), time.monotonic()

    def ask(self, path: str, query: Mapping[str, str], method: str = "GET") -> bytes:
        status, body = self._through(method, f"services/http:{self._operator}-metrics:{PORT}", path, query)
        if status == 503 and (acting := _acting(body)):
            status, body = self._through(method, f"pods/http:{acting}:{PORT}", path, query)
        if status != 200:
            raise CannotAsk(refusal(status, body))
        return body

    def stream(self, path: str, query: Mapping[str, str]) -> Stream:
        """May be called for hours: the token is renewed."""
        if time.monotonic() - self._token_at > RENEW_SECONDS:
            self._token, self._token_at = self._new_token(), time.monotonic()
        stream = self._stream(f"services/http:{self._operator}-metrics:{PORT}", path, query)
        if stream.status == 503:
            body = b"".join(stream.chunks)
            if acting := _acting(body):
                return self._stream(f"pods/http:{acting}:{PORT}", path, query)
            return Stream(stream.status, stream.headers, iter([body]))
        return stream

    def _new_token(self) -> str:
        account = self._account
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{account}/token"
        spec = {"audiences": [AUDIENCE], "expirationSeconds": TOKEN_SECONDS}
        status, body = self._call(
            "POST", path, {}, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        )
        if status not in (200, 201):
            raise CannotAsk(
                f"--operator-namespace, --operator: no token of serviceaccount {self._namespace}/{account}, for which "
                f"you need `create` of serviceaccounts/token there: {refusal(status, body)}"
            )
        return str(json.loads(body)["status"]["token"])

    def _through(self, method: str, target: str, path: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        return self._call(method, f"{self._proxy(target, path)}?{urlencode(query)}", {TOKEN_HEADER: self._token}, None)

    def _proxy(self, target: str, path: str) -> str:
        return f"/api/v1/namespaces/{self._namespace}/{target}/proxy{path}"

    def _stream(self, target: str, path: str, query: Mapping[str, str]) -> Stream:
        answer = self._answer(
            "GET", f"{self._proxy(target, path)}?{urlencode(query)}", {TOKEN_HEADER: self._token}, None
        )
        return Stream(int(answer.status), _lower(answer.headers), _read_as_urllib3(answer.response))

    def _call(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> tuple[int, bytes]:
        answer = self._answer(method, path, headers, body)
        try:
            return int(answer.status), bytes(answer.read())
        except Exception as error:  # whatever urllib3 raises
            raise CannotAsk(f"--context: the API server's answer broke off: {error}") from error

    def _answer(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> Any:
        """Of any status; its body is not read yet."""
        verb, url, sent, content, _ = self._client.param_serialize(
            method,
            path,
            header_params={"Accept": "application/json", "Content-Type": "application/json", **headers},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            return self._client.call_api(verb, url, sent, content, _request_timeout=TIMEOUT_SECONDS)
        except Exception as error:  # whatever urllib3 raises
            raise CannotAsk(f"--context: the API server does not answer: {error}") from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """The token is the operator's to see."""


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _read(answer: Any) -> Iterator[bytes]:
    with answer:
        try:
            while chunk := answer.read1(CHUNK_BYTES):
                yield chunk
        except HTTPException as error:
            raise OSError(str(error)) from error


def _read_as_urllib3(answer: Any) -> Iterator[bytes]:
    try:
        yield from answer.stream(CHUNK_BYTES)
    except Exception as error:  # whatever urllib3 raises
        raise OSError(str(error)) from error
    finally:
        answer.close()


def refusal(status: int, body: bytes) -> str:
    """What an answer that is not 200 says, and what would be right where nobody says it."""
    try:
        said = json.loads(body)
        text = said["error"]["message"] if "error" in said else said["message"]
    except (ValueError, KeyError, TypeError):
        text = " ".join(body.decode(errors="replace")[:200].split())
        if status in (404, 405):
            text = f"what answers does not know this: an operator older than this command, or none at all: {text}"
    if 300 <= status < 400:
        text = f"what answers leads elsewhere, and a token does not go along: {text}"
    if status == 503 and "no endpoints available" in text:
        text += ": the operator does not run, or is not ready: kubectl get pods -n its namespace"
    return f"{text} (HTTP {status})"


def _acting(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"].get("acting", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
