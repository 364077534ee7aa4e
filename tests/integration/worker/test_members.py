"""Which workers are ready: a real API server tells a ServiceAccount that may do nothing but watch EndpointSlices."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from litevoice_worker.members import EndpointSliceMembers, api_server
from tests.integration.apiserver import ApiServer, Json
from tests.integration.silent_way import SilentWay
from tests.waiting import until

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

NAMESPACE = "voice"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
RBAC = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"


@pytest.fixture(scope="module")
def account(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a pod finds of its ServiceAccount, with the rights that the operator gives to workers."""
    server.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    server.create(f"{CORE}/serviceaccounts", {"metadata": {"name": "worker"}})
    rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    server.create(f"{RBAC}/roles", {"metadata": {"name": "worker"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "worker"},
        "subjects": [{"kind": "ServiceAccount", "name": "worker", "namespace": NAMESPACE}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "worker"},
    }
    server.create(f"{RBAC}/rolebindings", binding)
    token = server.request("POST", f"{CORE}/serviceaccounts/worker/token", {"spec": {}})["status"]["token"]
    folder = tmp_path_factory.mktemp("account")
    (folder / "token").write_text(token + "\n")
    (folder / "ca.crt").write_bytes((server.kubeconfig.parent / "certs" / "apiserver.crt").read_bytes())
    return folder


def endpoint_slice(name: str, pods: dict[str, bool], service: str = "worker") -> Json:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [f"10.0.0.{number}"],
                "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "name": pod, "namespace": NAMESPACE},
            }
            for number, (pod, ready) in enumerate(pods.items(), 1)
        ],
    }


@pytest.fixture
async def members(server: ApiServer, account: Path) -> AsyncIterator[EndpointSliceMembers]:
    made = EndpointSliceMembers(f"{NAMESPACE}/worker", server.url, account)
    yield made
    await made.close()


def ready(members: EndpointSliceMembers) -> set[str]:
    return set(members.ready or ())


async def test_ready_workers_are_followed_also_through_an_outage(
    server: ApiServer, members: EndpointSliceMembers, caplog: pytest.LogCaptureFixture
) -> None:
    changes: list[frozenset[str] | None] = []
    members.on_change(lambda: changes.append(members.ready))
    server.create(SLICES, endpoint_slice("worker-a", {"w-0": True, "w-1": False}))
    server.create(SLICES, endpoint_slice("other-a", {"x-0": True}, service="other"))
    assert ready(members) == set()
    await members.start()
    await until(lambda: ready(members) == {"w-0"}, "the first list")
    server.merge(f"{SLICES}/worker-a", {"endpoints": endpoint_slice("", {"w-0": True, "w-1": True})["endpoints"]})
    await until(lambda: ready(members) == {"w-0", "w-1"}, "a worker that became ready")
    server.create(SLICES, endpoint_slice("worker-b", {"w-2": True}))
    await until(lambda: ready(members) == {"w-0", "w-1", "w-2"}, "a second slice")
    server.request("DELETE", f"{SLICES}/worker-b")
    await until(lambda: ready(members) == {"w-0", "w-1"}, "a slice that went")
    assert len(changes) == 4

    await asyncio.to_thread(server.kill_server)
    await until(lambda: "cannot watch" in caplog.text, "the outage")
    assert ready(members) == {"w-0", "w-1"}, "the last known workers stay"
    await asyncio.to_thread(server.start)
    server.merge(f"{SLICES}/worker-a", {"endpoints": endpoint_slice("", {"w-1": True})["endpoints"]})
    await until(lambda: ready(members) == {"w-1"}, "a change after the outage")


async def test_trap_after_a_cut_the_watch_stays_silent_and_is_asked_again(server: ApiServer, account: Path) -> None:
    """For 20 s a worker that had been cut off took itself for a member, and partitions went to and fro."""
    async with SilentWay(server.url.removeprefix("https://")) as way:
        members = EndpointSliceMembers(f"{NAMESPACE}/cut", f"https://{way.address}", account)
        server.create(SLICES, endpoint_slice("cut-a", {"w-0": True, "w-1": True}, service="cut"))
        await members.start()
        await until(lambda: ready(members) == {"w-0", "w-1"}, "the first list")
        way.cut()
        alone = endpoint_slice("", {"w-0": True, "w-1": False})["endpoints"]
        server.merge(f"{SLICES}/cut-a", {"endpoints": alone})
        for _ in range(2):
            members.ask_again()
        await until(lambda: ready(members) == {"w-0"}, "the next list")
        assert way.connections == 2
        await members.close()
    server.request("DELETE", f"{SLICES}/cut-a")


async def test_a_moment_without_a_ready_worker_changes_nothing(
    server: ApiServer, members: EndpointSliceMembers, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them suffer from the same. A start without any ready worker is known, so that the first can become one."""

    def tell(pods: dict[str, bool]) -> None:
        server.merge(f"{SLICES}/worker-c", {"endpoints": endpoint_slice("", pods)["endpoints"]})

    for item in server.request("GET", SLICES)["items"]:
        server.request("DELETE", f"{SLICES}/{item['metadata']['name']}")
    server.create(SLICES, endpoint_slice("worker-c", {"w-0": False}))
    await members.start()
    await until(lambda: members.ready == frozenset(), "an empty first list")
    tell({"w-0": True, "w-1": True})
    await until(lambda: ready(members) == {"w-0", "w-1"}, "both")
    changes: list[frozenset[str] | None] = []
    members.on_change(lambda: changes.append(members.ready))
    tell({"w-0": False, "w-1": False})
    await until(lambda: "no worker is ready" in caplog.text, "the empty list")
    server.request("DELETE", f"{SLICES}/worker-c")
    await until(lambda: caplog.text.count("no worker is ready") > 1, "no slice at all")
    assert ready(members) == {"w-0", "w-1"}
    server.create(SLICES, endpoint_slice("worker-c", {"w-1": True, "w-2": True}))
    await until(lambda: ready(members) == {"w-1", "w-2"}, "the next list that names somebody")
    assert changes == [frozenset({"w-1", "w-2"})]


async def test_the_account_may_do_nothing_else(server: ApiServer, account: Path) -> None:
    headers = {"Authorization": f"Bearer {(account / 'token').read_text().strip()}"}
    tls = ssl.create_default_context(cafile=str(account / "ca.crt"))
    async with httpx.AsyncClient(base_url=server.url, headers=headers, verify=tls) as client:
        assert (await client.get(SLICES)).status_code == 200
        for method, path in (("GET", f"{CORE}/pods"), ("GET", f"{CORE}/secrets"), ("DELETE", f"{SLICES}/worker-a")):
            assert (await client.request(method, path)).status_code == 403


async def test_without_rights_the_workers_stay_unknown(
    server: ApiServer, tmp_path: Path, account: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ca.crt").write_bytes((account / "ca.crt").read_bytes())
    (tmp_path / "token").write_text("nonsense")
    members = EndpointSliceMembers(f"{NAMESPACE}/worker", server.url, tmp_path)
    await members.start()
    await until(lambda: "cannot watch" in caplog.text, "the refusal")
    assert members.ready is None
    assert "nonsense" not in caplog.text
    await members.close()


def test_where_a_pod_finds_the_api_server() -> None:
    assert api_server({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}) == "https://10.96.0.1:443"
    v6 = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert api_server(v6) == "https://[fd00::1]:6443"
