"""What the Helm chart makes of its values, through helm itself: its objects, and the operator's pod. No cluster."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from litevoice_operator.adapters.channels import read_channels
from tests.unit.chart.charts import CHART, DEV, OWN, Chart, Manifest, environment, operator_container, pods


def test_lint(chart: Chart) -> None:
    result = chart.lint()
    assert result.returncode == 0, result.stdout


def test_crds_are_not_the_charts() -> None:
    """They have one way in. Helm would install this folder's once and never upgrade them."""
    assert not (CHART / "crds").exists()


def test_default_objects(defaults: dict[tuple[str, str], Manifest]) -> None:
    policies = {name for kind, name in defaults if kind == "ValidatingAdmissionPolicy"}
    assert policies == {
        f"ns-lv-litevoice-operator-{p}" for p in ("owned", "content", "pods", "secrets", "specs", "marks")
    }
    assert policies == {name for kind, name in defaults if kind == "ValidatingAdmissionPolicyBinding"}
    assert {(kind, name) for kind, name in defaults if not kind.startswith("ValidatingAdmissionPolicy")} == {
        ("ServiceAccount", "lv-litevoice-operator"),
        ("Secret", "lv-litevoice-root-key"),
        ("ClusterRole", "ns-lv-litevoice-operator"),
        ("ClusterRoleBinding", "ns-lv-litevoice-operator"),
        ("ClusterRole", "ns-lv-litevoice-operator-reviews"),
        ("ClusterRoleBinding", "ns-lv-litevoice-operator-reviews"),
        ("ClusterRole", "ns-lv-litevoice-operator-nodes"),
        ("ClusterRoleBinding", "ns-lv-litevoice-operator-nodes"),
        ("ServiceAccount", "lv-litevoice-operator-viewer"),
        ("ClusterRole", "ns-lv-litevoice-operator-viewer"),
        ("ClusterRoleBinding", "ns-lv-litevoice-operator-viewer"),
        ("ServiceAccount", "lv-litevoice-operator-manager"),
        ("ClusterRole", "ns-lv-litevoice-operator-manager"),
        ("ClusterRoleBinding", "ns-lv-litevoice-operator-manager"),
        ("NetworkPolicy", "lv-litevoice-operator"),
        ("Role", "lv-litevoice-operator-lease"),
        ("RoleBinding", "lv-litevoice-operator-lease"),
        ("Service", "lv-litevoice-operator-metrics"),
        ("Deployment", "lv-litevoice-operator"),
    }


def test_operator_gets_what_it_asks_for(chart: Chart) -> None:
    manifests = chart.render(
        "operator.image.tag=v7",
        "gateway.image.repository=registry.example.com:5000/team/gateway",
        "gateway.image.tag=v8",
        "rocketmq.endpoints=p1:8081;[fd00::1]:8081",
        "rocketmq.nameServer=n:9876",
        "operator.logLevel=debug",
        'watchNamespaces=["a","b"]',
    )
    container = operator_container(manifests)
    assert container["image"] == "litevoice/operator:v7"
    assert environment(container) == {
        "GATEWAY_IMAGE": "registry.example.com:5000/team/gateway:v8",
        "WORKER_IMAGE": f"litevoice/worker:{yaml.safe_load((CHART / 'Chart.yaml').read_text())['appVersion']}",
        "ROCKETMQ_ENDPOINTS": "p1:8081;[fd00::1]:8081",
        "ROCKETMQ_NAME_SERVER": "n:9876",
        "ROCKETMQ_ADMIN_TLS": "false",
        "POD_USER_ID": "65532",
        "ALERT_RESEND_SECONDS": "30",
        "ROLLOUTS_AT_A_TIME": "1",
        "WATCH_NAMESPACES": "a,b",
        "ROOT_KEY_FILE": "/etc/litevoice/root-key/root-key",
        "LOG_LEVEL": "debug",
        "LEASE_NAME": "lv-litevoice-operator",
    }


def test_operator_gets_the_channels_of_alerts_and_their_keys_as_files(chart: Chart, tmp_path: Path) -> None:
    channels = [
        {"name": "oncall", "alertmanager": {"urls": ["http://am-0:9093", "http://am-1:9093"]}},
        {"name": "chat", "webhook": {"url": "https://chat/hook", "hmacSecret": "chat-hook"}},
        {"name": "open", "webhook": {"url": "https://open/hook"}},
    ]
    manifests = chart.render(f"alerts.channels={json.dumps(channels)}", "alerts.resendSeconds=7")
    container = operator_container(manifests)
    given = environment(container)
    volumes = manifests["Deployment", "lv-litevoice-operator"]["spec"]["template"]["spec"]["volumes"]
    assert [v["secret"]["secretName"] for v in volumes if v["name"].startswith("channel-")] == ["chat-hook"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"].startswith("channel-")]
    assert mount["mountPath"] == "/etc/litevoice/channels/chat"
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "hmac-key").write_text("k" * 32)
    found = read_channels("ALERT_CHANNELS", given["ALERT_CHANNELS"], tmp_path)
    assert {name: (channel.alertmanagers, channel.webhook, channel.key) for name, channel in found.items()} == {
        "oncall": (("http://am-0:9093", "http://am-1:9093"), "", b""),
        "chat": ((), "https://chat/hook", b"k" * 32),
        "open": ((), "https://open/hook", b""),
    }
    assert given["ALERT_RESEND_SECONDS"] == "7"


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ({"name": "oncall"}, "alerts.channels[0] (oncall): one of alertmanager and webhook is needed"),
        ({"name": "On Call", "webhook": {"url": "https://x"}}, "name"),
        ({"name": "x", "webhook": {"url": "chat.example.com"}}, "url"),
        ({"name": "x", "alertmanager": {"urls": []}}, "urls"),
    ],
)
def test_a_channel_that_is_wrong_is_named(chart: Chart, channel: dict[str, Any], message: str) -> None:
    result = chart.template(f"alerts.channels={json.dumps([channel])}")
    assert result.returncode != 0
    assert message in result.stderr


def test_operator_gets_the_broker_secrets_as_files_and_no_right_to_read_any(chart: Chart) -> None:
    plain = chart.render(*OWN)
    manifests = chart.render(*OWN, "rocketmq.credentialsSecret=mq", "rocketmq.adminTls=true", "rocketmq.caSecret=mq-ca")
    container = operator_container(manifests)
    given = environment(container)
    assert given["ROCKETMQ_ADMIN_TLS"] == "true"
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    volumes = {
        v["name"]: v for v in manifests["Deployment", "lv-litevoice-operator"]["spec"]["template"]["spec"]["volumes"]
    }
    files: dict[str, tuple[str, str]] = {}
    for name in ("broker", "broker-ca"):
        assert mounts[name]["readOnly"] is True
        secret = volumes[name]["secret"]
        files |= {
            f"{mounts[name]['mountPath']}/{item['path']}": (secret["secretName"], item["key"])
            for item in secret["items"]
        }
    assert files == {
        f"{given['ROCKETMQ_CREDENTIALS_DIR']}/accessKey": ("mq", "accessKey"),
        f"{given['ROCKETMQ_CREDENTIALS_DIR']}/secretKey": ("mq", "secretKey"),
        given["ROCKETMQ_CA_FILE"]: ("mq-ca", "ca.crt"),
    }
    assert {mount["name"] for mount in operator_container(plain)["volumeMounts"]} == {"root-key", "tmp"}
    role = ("ClusterRole", "ns-lv-litevoice-operator")
    assert manifests[role] == plain[role]
    verbs = [verb for rule in plain[role]["rules"] if "secrets" in rule["resources"] for verb in rule["verbs"]]
    assert verbs == ["create"]


def test_one_operator_acts_by_its_lease(chart: Chart, defaults: dict[tuple[str, str], Manifest]) -> None:
    assert defaults["Deployment", "lv-litevoice-operator"]["spec"]["replicas"] == 1
    two = chart.render("operator.replicas=2")
    assert two["Deployment", "lv-litevoice-operator"]["spec"]["replicas"] == 2
    name = environment(operator_container(two))["LEASE_NAME"]
    rules = two["Role", "lv-litevoice-operator-lease"]["rules"]
    assert {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [name],
            "verbs": ["get", "update"]} in rules  # fmt: skip


def test_pods_are_restricted(with_rocketmq: dict[tuple[str, str], Manifest]) -> None:
    """The Pod Security Standard `restricted`, and a read-only root file system on top."""
    assert len(pods(with_rocketmq)) == 2
    for pod in pods(with_rocketmq):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == 65532
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_openshift_gives_pods_their_user_ids(chart: Chart) -> None:
    manifests = chart.render(*DEV, "openshift=true")
    assert len(pods(manifests)) == 2
    for pod in pods(manifests):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & pod["securityContext"].keys()
        assert pod["securityContext"]["runAsNonRoot"] is True
    assert environment(operator_container(manifests))["POD_USER_ID"] == "any"


@pytest.mark.parametrize(
    ("tag", "reference"),
    [("", f"litevoice/gateway@sha256:{'a' * 64}"), ("v8", f"litevoice/gateway:v8@sha256:{'a' * 64}")],
)
def test_images_by_digest(chart: Chart, tag: str, reference: str) -> None:
    digest = f"sha256:{'a' * 64}"
    parts = ("operator", "gateway", "worker", "rocketmq.dev")
    values = [f"{part}.image.digest={digest}" for part in parts] + [f"{part}.image.tag={tag}" for part in parts]
    manifests = chart.render(*DEV, *values)
    container = operator_container(manifests)
    broker = manifests["StatefulSet", "lv-litevoice-rocketmq"]["spec"]["template"]["spec"]["containers"]
    assert environment(container)["GATEWAY_IMAGE"] == reference
    for name, image in (
        ("operator", container["image"]),
        ("worker", environment(container)["WORKER_IMAGE"]),
        *(("rocketmq", one["image"]) for one in broker),
    ):
        assert image == reference.replace("gateway", name)


def test_pull_secrets(chart: Chart) -> None:
    manifests = chart.render(*DEV, 'imagePullSecrets=["one","two"]')
    wanted = [{"name": "one"}, {"name": "two"}]
    assert manifests["ServiceAccount", "lv-litevoice-operator"]["imagePullSecrets"] == wanted
    assert manifests["StatefulSet", "lv-litevoice-rocketmq"]["spec"]["template"]["spec"]["imagePullSecrets"] == wanted


def test_root_key_is_random_and_kept(chart: Chart) -> None:
    secrets = [chart.render()["Secret", "lv-litevoice-root-key"] for _ in range(2)]
    keys = [base64.b64decode(s["data"]["root-key"]) for s in secrets]
    assert keys[0] != keys[1]
    assert all(len(base64.b64decode(key)) == 48 for key in keys)
    assert secrets[0]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_root_key_of_the_user(chart: Chart) -> None:
    manifests = chart.render("rootKey.existingSecret=mine")
    assert not [name for kind, name in manifests if kind == "Secret"]
    volumes = manifests["Deployment", "lv-litevoice-operator"]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "root-key", "secret": {"secretName": "mine", "defaultMode": 0o440}} in volumes
