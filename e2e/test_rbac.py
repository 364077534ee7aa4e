"""What the operator may do in the cluster, and above all what it may not: the API server itself is asked."""

from __future__ import annotations

import pytest

from e2e.environment import GATEWAY, NAMESPACE, RELEASE, SYSTEM_NAMESPACE
from e2e.shell import CommandFailed, kubectl

OPERATOR = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{RELEASE}-operator"


def allowed(verb: str, resource: str, *arguments: str, user: str = OPERATOR, namespace: str = NAMESPACE) -> bool:
    try:
        kubectl("auth", "can-i", verb, resource, f"--as={user}", "-n", namespace, *arguments)
    except CommandFailed as error:
        # A "no" exits with an error as well; everything else is trouble and must not pass for a "no".
        said = [line for line in str(error).splitlines()[1:] if "is not namespace scoped" not in line]
        assert said[:1] == ["no"] and not said[1:], error
        return False
    return True


MAY = [
    ("watch", "voicegateways.litevoice.dev"),
    ("patch", "voicegateways.litevoice.dev"),
    ("watch", "backlogalerts.litevoice.dev"),
    ("create", "deployments.apps"),
    ("patch", "deployments.apps"),
    ("create", "replicasets.apps"),
    ("patch", "replicasets.apps"),
    ("watch", "replicasets.apps"),
    ("create", "services"),
    ("create", "configmaps"),
    ("create", "serviceaccounts"),
    ("create", "poddisruptionbudgets.policy"),
    ("create", "roles.rbac.authorization.k8s.io"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("create", "secrets"),
    ("watch", "pods"),
    ("patch", "pods"),
    ("watch", "endpointslices.discovery.k8s.io"),
    ("create", "events"),
    ("list", "nodes"),
    ("watch", "nodes"),
]

MUST_NOT = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("watch", "secrets"),
    ("delete", "secrets"),
    ("patch", "secrets"),
    ("get", "configmaps"),
    ("create", "pods"),
    ("delete", "pods"),
    ("create", "voicegateways.litevoice.dev"),
    ("delete", "voicegateways.litevoice.dev"),
    ("list", "deployments.apps"),
    ("create", "daemonsets.apps"),
    ("create", "statefulsets.apps"),
    ("create", "jobs.batch"),
    ("escalate", "roles.rbac.authorization.k8s.io"),
    ("bind", "roles.rbac.authorization.k8s.io"),
    ("create", "clusterroles.rbac.authorization.k8s.io"),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
    ("impersonate", "users"),
    ("impersonate", "serviceaccounts"),
    ("get", "nodes"),
    ("patch", "nodes"),
    ("delete", "nodes"),
    ("create", "namespaces"),
    ("delete", "namespaces"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("create", "validatingwebhookconfigurations.admissionregistration.k8s.io"),
    ("*", "*"),
]


@pytest.mark.parametrize(("verb", "resource"), MAY)
def test_operator_may(verb: str, resource: str) -> None:
    assert allowed(verb, resource)


@pytest.mark.parametrize(("verb", "resource"), MUST_NOT)
def test_operator_must_not(verb: str, resource: str) -> None:
    assert not allowed(verb, resource)


@pytest.mark.parametrize("subresource", ["exec", "attach", "portforward", "ephemeralcontainers"])
def test_operator_cannot_enter_pods(subresource: str) -> None:
    assert not allowed("create", "pods", f"--subresource={subresource}")
    assert not allowed("patch", "pods", f"--subresource={subresource}")


def test_operator_cannot_make_tokens() -> None:
    assert not allowed("create", "serviceaccounts", "--subresource=token")


def test_operator_cannot_read_the_root_key_through_the_api() -> None:
    assert not allowed("get", f"secrets/{RELEASE}-root-key", namespace=SYSTEM_NAMESPACE)


def test_operator_can_hand_on_only_what_it_holds() -> None:
    """It makes Roles for the workers, so it must not be able to make a Role that grants more than it has itself, nor
    one that is no VoiceGateway's."""

    def make_role(verb: str, resource: str) -> None:
        kubectl(
            "create", "role", "probe", f"--verb={verb}", f"--resource={resource}",
            "-n", NAMESPACE, "--dry-run=server", f"--as={OPERATOR}",
        )  # fmt: skip

    with pytest.raises(CommandFailed, match="writes only what a VoiceGateway controls"):
        make_role("list", "endpointslices.discovery.k8s.io")
    with pytest.raises(CommandFailed, match="attempting to grant RBAC permissions not currently held"):
        make_role("get", "secrets")


@pytest.mark.parametrize("component", ["gateway", "worker"])
@pytest.mark.parametrize(
    ("verb", "resource"), [("get", "secrets"), ("list", "pods"), ("create", "pods"), ("get", "configmaps")]
)
def test_session_pods_have_next_to_no_rights(component: str, verb: str, resource: str) -> None:
    assert not allowed(verb, resource, user=f"system:serviceaccount:{NAMESPACE}:{GATEWAY}-{component}")
