"""From nothing to a cluster in which litevoice answers calls: cluster, images, CRDs, chart, example resources."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from e2e.shell import ROOT, CommandFailed, kubectl, kubectl_json, run, side_by_side, wait_until
from litevoice_dev.progress import progress, say

NAMESPACE = "voice"
"""Where the example VoiceGateway lives."""
SYSTEM_NAMESPACE = "litevoice-system"
"""Where the chart is installed."""
RELEASE = "litevoice"
GATEWAY = "demo"
API_KEYS_SECRET = "demo-api-keys"
EXAMPLES = ("voicegateway.yaml", "backlogalert-replies.yaml", "backlogalert-requests.yaml")
OFFICIAL_ROCKETMQ_USER = 3000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where callers reach the gateways.

    Attributes:
        url: WebSocket base for OpenAI clients; LITEVOICE_URL, when it is set.
        direct_url: the same through a node's address, without a proxy process in between, whose buffers would hide for
            long that a client does not read.
    """

    url: str
    direct_url: str
    api_key: str


def is_local() -> bool:
    """Whether the cluster is our own, made by kind on this machine; otherwise the user brings one."""
    return os.environ.get("LITEVOICE_CLUSTER") != "existing"


def prepare() -> Endpoint:
    """Steps 1 to 4 of the demo; each is quick when it has been done before. What takes long is made side by side."""
    say("tools, cluster and images")
    images, later = side_by_side(cluster_with_images, lambda: script("install-dev"))
    try:
        side_by_side(lambda: install_chart(images), lambda: load_images(later))
        apply_examples()
    except CommandFailed as error:
        raise CommandFailed("\n".join([str(error), *unready()])) from error
    return endpoint()


def cluster_with_images() -> tuple[dict[str, str], list[str]]:
    """Image references by name; those that the nodes still lack: session pods' images can be copied while operator and
    RocketMQ start, unless an operator is there that would start such pods at once."""
    images = side_by_side(build_images, cluster_up)
    apply_crds()
    fresh = not kubectl_json("get", "vgw", "--all-namespaces")["items"]
    later = [images["gateway"], images["worker"]] if fresh else []
    now = [reference for reference in images.values() if reference not in later]
    side_by_side(lambda: load_images(now), lambda: script("install-helm"))  # after the node image: see install-helm
    return images, later


def script(name: str) -> None:
    run((f"scripts/{name}",), show=True)


def cluster_up() -> None:
    """A kind cluster, or the current KUBECONFIG with LITEVOICE_CLUSTER=existing."""
    for line in run(("e2e/cluster/up",), show=True).splitlines():
        name, equals, value = line.removeprefix("export ").partition("=")
        if equals and name == "KUBECONFIG":
            os.environ["KUBECONFIG"] = value.strip("'\"")


def build_images() -> dict[str, str]:
    """Image references by name."""
    lines = run(("images/build",), show=True).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def load_images(references: Sequence[str]) -> None:
    """Brings them to the nodes: by kind, or for an existing cluster by the registry that its nodes pull from."""
    if not references:
        return
    if is_local():
        run(("e2e/cluster/load", *references), show=True)
    elif os.environ.get("LITEVOICE_IMAGE_REGISTRY"):
        for reference in references:
            say(f"pushing {reference}")
            run(("docker", "push", "--quiet", reference), show=True)
    else:
        say("images: not pushed, LITEVOICE_IMAGE_REGISTRY is not set; the cluster's nodes must have them already")


def apply_crds() -> None:
    """As the README says; forced, because an existing cluster's may come from a chart that still carried them."""
    say("CRDs")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    for plural in ("voicegateways", "backlogalerts"):
        wait_established(f"crd/{plural}.litevoice.dev")


def wait_established(crd: str) -> None:
    """kubectl fails at once, whatever its timeout, while a CRD of a moment ago has no conditions at all."""
    wait_until(
        lambda: kubectl("wait", "--for=condition=Established", crd, "--timeout=60s"), 60, f"{crd} is established"
    )


def install_chart(images: dict[str, str], *settings: str) -> None:
    """`helm upgrade --install`, waiting for the operator and the development RocketMQ."""
    say("chart")
    arguments = ["rocketmq.dev.enabled=true", "watchNamespaces={*}", *settings]
    for name, key in (
        ("operator", "operator"),
        ("gateway", "gateway"),
        ("worker", "worker"),
        ("rocketmq", "rocketmq.dev"),
    ):
        repository, _, tag = images[name].rpartition(":")
        arguments += [f"{key}.image.repository={repository}", f"{key}.image.tag={tag}"]
    if not images["rocketmq"].rpartition(":")[0].endswith("litevoice/rocketmq"):
        arguments.append(f"rocketmq.dev.userId={OFFICIAL_ROCKETMQ_USER}")
    with progress("waiting for the operator and RocketMQ"):
        run(
            (
                "helm", "upgrade", "--install", RELEASE, "charts/litevoice", "--namespace", SYSTEM_NAMESPACE,
                "--create-namespace", "--wait", "--timeout", "6m",
                *(part for setting in arguments for part in ("--set", setting)),
            ),
            show=True,
        )  # fmt: skip


def upgrade_gateway_image() -> None:
    """`helm upgrade` to a gateway image with another tag (the same content), as a release would."""
    values = json.loads(run(("helm", "get", "values", RELEASE, "-n", SYSTEM_NAMESPACE, "-o", "json")))
    image = values["gateway"]["image"]
    old = f"{image['repository']}:{image['tag']}"
    tag = image["tag"].removesuffix("-next") if image["tag"].endswith("-next") else f"{image['tag']}-next"
    run(("docker", "tag", old, f"{image['repository']}:{tag}"))
    load_images([f"{image['repository']}:{tag}"])
    run(
        (
            "helm", "upgrade", RELEASE, "charts/litevoice", "-n", SYSTEM_NAMESPACE, "--reset-then-reuse-values",
            "--set", f"gateway.image.tag={tag}", "--wait", "--timeout", "5m",
        ),
        show=True,
    )  # fmt: skip


def apply_examples() -> None:
    """API key, VoiceGateway and the two BacklogAlerts; returns when all are Ready."""
    say("VoiceGateway and BacklogAlerts")
    namespace = f'{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{NAMESPACE}"}}}}'
    kubectl("apply", "-f", "-", text=namespace)
    ensure_api_key()
    kubectl("apply", "-n", NAMESPACE, *(part for example in EXAMPLES for part in ("-f", f"examples/{example}")))
    wait_ready()


def wait_ready() -> None:
    """All resources are Ready, and no rollout is under way that would move a call on its own."""
    for resource, condition in (("vgw", "Reconciling=False"), ("vgw", "Ready"), ("bla", "Ready")):
        with progress(f"waiting until {resource} is {condition}"):
            kubectl(
                "wait", "-n", NAMESPACE, f"--for=condition={condition}", resource, "--all", "--timeout=300s",
                timeout_seconds=330,
            )  # fmt: skip


def unready() -> Iterator[str]:
    """What our resources say, and our containers that are not ready with the last lines that they logged."""
    with contextlib.suppress(CommandFailed):  # nobody answers: that is in the error already
        yield kubectl("get", "vgw,bla", "--all-namespaces", "--output=wide")
        for namespace in (SYSTEM_NAMESPACE, NAMESPACE):
            for pod in kubectl_json("get", "pods", "-n", namespace)["items"]:
                yield from _unready_in(pod)


def _unready_in(pod: Any) -> Iterator[str]:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            yield f"pod {namespace}/{name} is not scheduled: {condition.get('message', '')}"
    for container in pod["status"].get("containerStatuses", []):
        if container["ready"]:
            continue
        ((state, details),) = container["state"].items()
        reason = details.get("message") or details.get("reason") or ""
        yield f"container {container['name']} of pod {namespace}/{name} is not ready: {state} {reason}"
        with contextlib.suppress(CommandFailed):
            yield kubectl("logs", "-n", namespace, name, "-c", container["name"], "--tail=12")


def state() -> Iterator[tuple[str, str]]:
    """Title and text of what a person looks at when a test has failed: resources, sessions, the ends of the logs."""
    looks: list[tuple[str, tuple[str, ...]]] = [
        ("resources", ("get", "vgw,bla,pods", "--all-namespaces", "--output=wide"))
    ]
    with contextlib.suppress(CommandFailed):
        for pod in pods("gateway"):
            sessions = ("exec", "-n", NAMESPACE, pod, "--", "python3", "-m", "litevoice_gateway", "sessions")
            looks += [(f"{pod}: sessions", sessions), (f"{pod}: log", ("logs", "-n", NAMESPACE, pod, "--tail=20"))]
        looks += [(f"{pod}: log", ("logs", "-n", NAMESPACE, pod, "--tail=20")) for pod in pods("worker")]
    looks += [("operator: log", ("logs", "-n", SYSTEM_NAMESPACE, f"deploy/{RELEASE}-operator", "--tail=20"))]
    for title, command in looks:
        try:
            yield title, kubectl(*command, timeout_seconds=20)
        except (CommandFailed, subprocess.TimeoutExpired) as error:
            yield title, str(error)


def ensure_api_key() -> None:
    """A key for the principal `demo`, made once."""
    try:
        kubectl("get", "secret", "-n", NAMESPACE, API_KEYS_SECRET)
    except CommandFailed:
        key = base64.b64encode(secrets.token_urlsafe(24).encode()).decode()
        manifest = (
            f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {API_KEYS_SECRET}, namespace: {NAMESPACE}}}\n"
            f"data: {{demo: {key}}}\n"
        )
        kubectl("apply", "-f", "-", text=manifest)


def endpoint() -> Endpoint:
    """Where to call, once the VoiceGateway is ready."""
    key = kubectl_json("get", "secret", "-n", NAMESPACE, API_KEYS_SECRET)["data"]["demo"]
    chosen = os.environ.get("LITEVOICE_URL", "")
    nodes = kubectl_json("get", "nodes")["items"]
    addresses = [a["address"] for n in nodes for a in n["status"]["addresses"] if a["type"] == "InternalIP"]
    direct = chosen or f"ws://{addresses[0]}:30080/v1"
    url = chosen or ("ws://127.0.0.1:18080/v1" if is_local() else direct)
    return Endpoint(url, direct, base64.b64decode(key).decode())


def pods(component: str) -> list[str]:
    """Names of the running, not terminating pods of a component (gateway or worker) of the example."""
    items = kubectl_json(
        "get",
        "pods",
        "-n",
        NAMESPACE,
        "-l",
        f"app.kubernetes.io/instance={GATEWAY},app.kubernetes.io/component={component}",
    )["items"]
    return [
        p["metadata"]["name"]
        for p in items
        if "deletionTimestamp" not in p["metadata"] and p["status"].get("phase") == "Running"
    ]


def listed_by(pod: str, session_id: str) -> str:
    """What `litevoice-gateway sessions` says of the session in that pod."""
    return kubectl("exec", "-n", NAMESPACE, pod, "--", "python3", "-m", "litevoice_gateway", "sessions", session_id)


def pod_holding(session_id: str, timeout_seconds: float = 20) -> str:
    """The gateway pod whose sessions include `session_id`, as the pod itself says."""

    def look() -> str:
        for pod in pods("gateway"):
            if session_id in listed_by(pod, session_id):
                return pod
        return ""

    return str(wait_until(look, timeout_seconds, f"a gateway that holds {session_id}"))
