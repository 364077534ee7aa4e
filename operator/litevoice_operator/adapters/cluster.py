"""The API server, through plain JSON objects: the only module that knows the `kubernetes` package."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
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
MAX_CONCURRENT = 32
"""Requests under way; others wait for their turn, before their timeout begins. A hundred resources that are reconciled
at once would otherwise time one another out, and begin again. The lease and watches have connections beside them."""
WATCH_SECONDS = 60
MAX_NAME_IN_EVENT = 200
"""Of 253 characters that an Event's own name may have."""
_CORDONED = {"fieldSelector": "spec.unschedulable=true"}
_ONLY_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


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
REPLICA_SET = Kind("apps/v1", "ReplicaSet")
SECRET = Kind("v1", "Secret")
CONFIG_MAP = Kind("v1", "ConfigMap")
LEASE = Kind("coordination.k8s.io/v1", "Lease")
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
    def answered(self) -> bool:
        return self.status != 0

    @property
    def retryable(self) -> bool:
        # Our own admission policy looks at VoiceGateways, which it learns of a moment later than we do.
        late = self.status in (403, 422) and "ValidatingAdmissionPolicy" in str(self)
        return late or self.status in (0, 409, 429) or self.status >= 500


@dataclass(frozen=True, slots=True)
class User:
    """As the API server knows whoever made a request."""

    name: str
    groups: tuple[str, ...]


class Cluster:
    """All requests of the operator itself; kopf has its own connections for watching."""

    def __init__(self, client: ApiClient, reporter: str) -> None:
        self._client = client
        self._reporter = reporter
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

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
            return await self._request("GET", kind.path(namespace, name), at_once=kind == LEASE)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def cordoned_nodes(self) -> tuple[list[str], str]:
        """Names of the nodes on which nothing new is scheduled, and the version that `cordons_stay` goes on from."""
        answer = await self._request("GET", "/api/v1/nodes", _CORDONED)
        names = [str(node["metadata"]["name"]) for node in answer.get("items") or []]
        return names, str(answer["metadata"]["resourceVersion"])

    async def cordons_stay(self, version: str) -> str | None:
        """Returns None once that list may have changed; after WATCH_SECONDS the version to go on from."""
        path = "/api/v1/nodes"
        query = {**_CORDONED, "watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true",
                 "timeoutSeconds": str(WATCH_SECONDS)}  # fmt: skip
        try:
            async with asyncio.timeout(WATCH_SECONDS + REQUEST_TIMEOUT_SECONDS):
                response = await self._send("GET", path, query, accept=_ONLY_METADATA, seconds=None)
                try:
                    if response.status >= 300:
                        raise ClusterError(response.status, f"watch {path}: {response.reason}")
                    async for line in response.response.content:
                        event = json.loads(line)
                        if event["type"] != "BOOKMARK":
                            return None
                        version = str(event["object"]["metadata"]["resourceVersion"])
                finally:
                    response.response.close()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ClusterError(0, f"watch {path}: {type(error).__name__}: {error}") from error
        return version

    async def list(
        self, kind: Kind, namespace: str, *, labels: str = "", fields: str = "", limit: int = 500
    ) -> list[dict[str, Any]]:
        """At most `limit` objects that match the label and field selectors."""
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(limit)}
        answer = await self._request("GET", kind.path(namespace), {key: value for key, value in query.items() if value})
        items: list[dict[str, Any]] = answer.get("items") or []
        return items

    async def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Server-side apply: creates or changes what the manifest names and leaves all other fields to their owners.
        With a uid in the manifest only the object that has it is changed."""
        return await self._apply(manifest, "")

    async def create(self, manifest: Mapping[str, Any]) -> bool:
        """False when an object of that name exists."""
        kind = Kind(manifest["apiVersion"], manifest["kind"])
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        try:
            await self._request("POST", kind.path(manifest["metadata"]["namespace"]), query, manifest)
        except ClusterError as error:
            if error.status != 409:
                raise
            return False
        return True

    async def replace(
        self, kind: Kind, namespace: str, name: str, version: str, spec: Mapping[str, Any]
    ) -> dict[str, Any]:
        """If the object still has that resourceVersion, else ClusterError 409; created for the version ""."""
        metadata = {"namespace": namespace, "name": name, **({"resourceVersion": version} if version else {})}
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
        path = kind.path(namespace, name) if version else kind.path(namespace)
        return await self._request("PUT" if version else "POST", path, body=body, at_once=kind == LEASE)

    async def apply_status(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The same for the status subresource; `manifest` holds apiVersion, kind, metadata and status."""
        return await self._apply(manifest, "status")

    async def patch_metadata(self, kind: Kind, namespace: str, name: str, **changes: Mapping[str, str | None]) -> None:
        """`labels` and `annotations`; None takes one away. ClusterError 404 when the object is gone."""
        body = {"metadata": changes}
        path, query = kind.path(namespace, name), {"fieldManager": FIELD_MANAGER}
        await self._request("PATCH", path, query, body, "application/merge-patch+json")

    async def change(
        self, kind: Kind, namespace: str, name: str, uid: str, change: Mapping[str, Any], owners: Sequence[Any] = ()
    ) -> dict[str, Any]:
        """Of the object that has the uid; `change`: a merge patch. `owners`: to be its owners from now on."""
        metadata = {"uid": uid, **({"ownerReferences": list(owners)} if owners else {})}
        path, query = kind.path(namespace, name), {"fieldManager": FIELD_MANAGER}
        body = {**change, "metadata": metadata}
        return await self._request("PATCH", path, query, body, "application/merge-patch+json")

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, *, orphan: bool = False) -> bool:
        """False when it did not exist; ClusterError 409 when another object has the name. Dependents follow in the
        background, or stay as nobody's."""
        policy = "Orphan" if orphan else "Background"
        options = {"propagationPolicy": policy, "preconditions": {"uid": uid}}
        try:
            await self._request("DELETE", kind.path(namespace, name), body=options)
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def reviewed(self, token: str, audience: str) -> User | None:
        """Whose token it is, if it is valid and was made for that audience."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
        spec = {"token": token, "audiences": [audience]}
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        status = (await self._request("POST", path, body={**body, "spec": spec})).get("status", {})
        if not status.get("authenticated") or audience not in (status.get("audiences") or []):
            return None
        user = status.get("user", {})
        return User(str(user.get("username", "")), tuple(user.get("groups") or ()))

    async def may(self, user: User, namespace: str, verb: str, resource: str, subresource: str) -> bool:
        """Whether the user may do so with that resource of ours; namespace "": in all namespaces."""
        attributes = {"group": GROUP, "resource": resource, "subresource": subresource, "verb": verb}
        spec = {
            "user": user.name,
            "groups": list(user.groups),
            "resourceAttributes": {**attributes, "namespace": namespace},
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool((await self._request("POST", path, body=body)).get("status", {}).get("allowed"))

    async def own_rules(self, namespace: str) -> tuple[Sequence[dict[str, Any]], bool]:
        """What the operator itself may do with resources there, and whether that is all of it: an authorizer outside of
        the API server lists nothing."""
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        status = (await self._request("POST", path, body={**body, "spec": {"namespace": namespace}}))["status"]
        rules: Sequence[dict[str, Any]] = status.get("resourceRules") or ()
        return rules, not status.get("incomplete")

    async def post_event(self, about: Mapping[str, str], text: EventText) -> None:
        """An Event on an object (`about`: its ObjectReference). One to be posted once that is there already is fine."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": about["namespace"], "name": _event_name(about, text, now)},
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
        try:
            await self._request("POST", EVENT.path(about["namespace"]), body=body)
        except ClusterError as error:
            if text.once is None or error.status != 409:
                raise

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
        *,
        at_once: bool = False,
    ) -> dict[str, Any]:
        """`at_once`: it waits for no other."""
        what = f"{method} {path}"
        try:
            async with contextlib.nullcontext() if at_once else self._slots:
                response = await self._send(method, path, query, body, content_type)
                text = (await response.read()).decode()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterError(0, f"{what}: {type(error).__name__}: {error}") from error
        if response.status >= 300:
            raise ClusterError(response.status, f"{what}: {_reason(text) or response.reason}")
        answer: dict[str, Any] = json.loads(text)
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        *,
        accept: str = "application/json",
        seconds: float | None = REQUEST_TIMEOUT_SECONDS,
    ) -> Any:
        verb, url, headers, content, _ = await self._client.param_serialize(
            method,
            path,
            header_params={"Content-Type": content_type, "Accept": accept},
            body=dict(body) if body is not None else None,
            auth_settings=["BearerToken"],
        )
        return await self._client.call_api(
            verb,
            f"{url}?{urlencode(query)}" if query else url,
            headers,
            content,
            _request_timeout=aiohttp.ClientTimeout(total=seconds),
        )


def _event_name(about: Mapping[str, str], text: EventText, now: float) -> str:
    """In the order of time, and no longer than a name may be. That of an Event to be posted once says what it is
    about."""
    name = about["name"][:MAX_NAME_IN_EVENT].rstrip("-.")
    if text.once is None:
        return f"{name}.{int(now * 1e6):x}"
    what, since = text.once
    digest = hashlib.blake2b(f"{about['uid']} {what}".encode(), digest_size=8).hexdigest()
    return f"{name}.{int(since * 1e6):x}-{digest}"


def _reason(text: str) -> str:
    try:
        return str(json.loads(text).get("message", ""))
    except (ValueError, AttributeError):
        return text[:200]
