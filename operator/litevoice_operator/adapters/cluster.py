"""The API server, through plain JSON objects: the only module that knows the `kubernetes` package."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from litevoice_operator.api.base import API_VERSION, GROUP
from litevoice_operator.decide.notifications import EventText

FIELD_MANAGER = "litevoice-operator"
REQUEST_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of namespaced objects; the plurals of all that the operator uses are regular."""

    api_version: str
    kind: str

    @property
    def plural(self) -> str:
        return f"{self.kind.lower()}s"

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        root = "/api" if "/" not in self.api_version else "/apis"
        parts = [root, self.api_version, "namespaces", quote(namespace, safe=""), self.plural]
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


VOICE_GATEWAY = Kind(API_VERSION, "VoiceGateway")
BACKLOG_ALERT = Kind(API_VERSION, "BacklogAlert")
DEPLOYMENT = Kind("apps/v1", "Deployment")
POD = Kind("v1", "Pod")
EVENT = Kind("v1", "Event")


class ClusterError(Exception):
    """The API server refused, or could not be reached.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        retryable: whether the same request may succeed later without anyone changing anything.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def retryable(self) -> bool:
        return self.status in (0, 409, 429) or self.status >= 500


class Cluster:
    """All requests of the operator itself; kopf has its own connections for watching."""

    def __init__(self, client: ApiClient, reporter: str) -> None:
        self._client = client
        self._reporter = reporter

    @classmethod
    async def connect(cls, reporter: str) -> Self:
        """With the pod's service account, else by KUBECONFIG. `reporter`: the reporting instance in Events."""
        configuration = Configuration()
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            kubernetes_config.load_incluster_config(client_configuration=configuration)
        else:
            await kubernetes_config.load_kube_config(client_configuration=configuration)
        return cls(ApiClient(configuration), reporter)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def served_resources(self) -> set[str]:
        """Plural names of the litevoice resources that the API server serves."""
        try:
            answer = await self._request("GET", f"/apis/{API_VERSION}")
        except ClusterError as error:
            if error.status == 404:
                return set()
            raise
        return {str(resource["name"]) for resource in answer.get("resources") or []}

    async def served_schemas(self) -> dict[str, dict[str, Any]]:
        """Kind → schema of the whole object, as the installed CRDs define it; changes are published within seconds.
        Whoever may discover the API may read it, without any permission for the CRDs."""
        answer = await self._request("GET", f"/openapi/v3/apis/{API_VERSION}")
        return {
            kind["kind"]: schema
            for schema in answer["components"]["schemas"].values()
            for kind in schema.get("x-kubernetes-group-version-kind", ())
            if kind["group"] == GROUP
        }

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """None when it does not exist."""
        try:
            return await self._request("GET", kind.path(namespace, name))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, kind: Kind, namespace: str, *, labels: str = "", fields: str = "", limit: int = 500
    ) -> list[dict[str, Any]]:
        """At most `limit` objects that match the label and field selectors."""
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(limit)}
        answer = await self._request("GET", kind.path(namespace), {key: value for key, value in query.items() if value})
        items: list[dict[str, Any]] = answer.get("items") or []
        return items

    async def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Server-side apply: creates or changes what the manifest names and leaves all other fields to their owners."""
        return await self._apply(manifest, "")

    async def apply_status(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The same for the status subresource; `manifest` holds apiVersion, kind, metadata and status."""
        return await self._apply(manifest, "status")

    async def delete(self, kind: Kind, namespace: str, name: str) -> bool:
        """False when it did not exist. Dependents follow in the background."""
        try:
            await self._request("DELETE", kind.path(namespace, name), {"propagationPolicy": "Background"})
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def post_event(self, about: Mapping[str, str], text: EventText) -> None:
        """An Event on an object (`about`: its ObjectReference)."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": about["namespace"], "name": f"{about['name']}.{int(now * 1e6):x}"},
            "involvedObject": dict(about),
            "type": text.type,
            "reason": text.reason,
            "message": text.message[:1024],
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "reportingInstance": self._reporter,
        }
        await self._request("POST", EVENT.path(about["namespace"]), body=body)

    async def _apply(self, manifest: Mapping[str, Any], subresource: str) -> dict[str, Any]:
        metadata = manifest["metadata"]
        kind = Kind(manifest["apiVersion"], manifest["kind"])
        return await self._request(
            "PATCH",
            kind.path(metadata["namespace"], metadata["name"], subresource),
            {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"},
            manifest,
            "application/apply-patch+yaml",
        )

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        what = f"{method} {path}"
        try:
            verb, url, headers, content, _ = await self._client.param_serialize(
                method,
                path,
                header_params={"Content-Type": content_type, "Accept": "application/json"},
                body=dict(body) if body is not None else None,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(
                verb,
                f"{url}?{urlencode(query)}" if query else url,
                headers,
                content,
                _request_timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS),
            )
            text = (await response.read()).decode()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterError(0, f"{what}: {type(error).__name__}: {error}") from error
        if response.status >= 300:
            raise ClusterError(response.status, f"{what}: {_reason(text) or response.reason}")
        answer: dict[str, Any] = json.loads(text)
        return answer


def _reason(text: str) -> str:
    try:
        return str(json.loads(text).get("message", ""))
    except (ValueError, AttributeError):
        return text[:200]
