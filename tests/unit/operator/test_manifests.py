"""What the operator makes of a VoiceGateway: hardening, wiring, defaults, bad input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from litevoice_broker.config import AdminAccess
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import Names
from litevoice_contracts.settings import GatewaySettings, StageSettings, WorkerSettings
from litevoice_operator.adapters.broker import Installed
from litevoice_operator.api.labels import ACCEPTING_LABEL, REVISION_LABEL, TEMPLATE_HASH_ANNOTATION
from litevoice_operator.api.pod_contents import OWN_ENVIRONMENT, OWN_FOLDER, OWN_VOLUMES
from litevoice_operator.api.resolved import Defaults, Gateway, resolve
from litevoice_operator.api.resource import Metadata
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.manifests import all_manifests
from litevoice_operator.manifests.keys import derive_keys, keys_secret_name, worker_keys_secret_name
from litevoice_operator.manifests.settings_files import gateway_settings, worker_settings
from litevoice_worker.stages.synthesize_openai import OpenAISpeechOptions

DEFAULTS = Defaults("gateway:1", "worker:1", "proxy:8081", "names:9876")
KEYS = derive_keys(b"k" * 32, "shop", "demo")
MODEL = {
    "openai": {"baseUrl": "http://models:8000/v1", "model": "m", "apiKeySecret": {"name": "models", "key": "chat"}}
}


def gateway(namespace: str = "shop", name: str = "demo", **spec: Any) -> Gateway:
    metadata = Metadata(namespace=namespace, name=name, uid="uid-1", generation=1)
    return resolve(metadata, VoiceGatewaySpec.model_validate({"auth": {"apiKeysSecret": "keys"}, **spec}), DEFAULTS)


SECRET, WORKER_SECRET = keys_secret_name(gateway(), KEYS), worker_keys_secret_name(gateway(), KEYS)


def made(**spec: Any) -> dict[tuple[str, str], dict[str, Any]]:
    manifests = all_manifests(gateway(**spec), KEYS)
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}


def pod(objects: dict[tuple[str, str], dict[str, Any]], component: str) -> dict[str, Any]:
    spec: dict[str, Any] = controller(objects, component)["spec"]["template"]["spec"]
    return spec


def controller(objects: dict[tuple[str, str], dict[str, Any]], component: str) -> dict[str, Any]:
    """What keeps the component's pods."""
    if component == "worker":
        return objects["Deployment", "demo-worker"]
    (found,) = [body for (kind, _), body in objects.items() if kind == "ReplicaSet"]
    return found


def revision() -> str:
    found: str = controller(made(), "gateway")["spec"]["template"]["metadata"]["labels"][REVISION_LABEL]
    return found


def test_the_set_of_objects() -> None:
    assert set(made()) == {
        ("Secret", SECRET),
        ("Secret", WORKER_SECRET),
        *(
            (kind, f"demo-{component}")
            for kind in ("ConfigMap", "ServiceAccount", "Service", "PodDisruptionBudget")
            for component in ("gateway", "worker")
        ),
        ("Deployment", "demo-worker"),
        ("ReplicaSet", f"demo-gateway-{revision()}"),
        ("Role", "demo-worker"),
        ("RoleBinding", "demo-worker"),
    }


def test_every_object_is_owned_and_labelled() -> None:
    for manifest in made().values():
        metadata = manifest["metadata"]
        assert metadata["namespace"] == "shop"
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
            "VoiceGateway", "demo", "uid-1", True,
        )  # fmt: skip
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "litevoice-operator"


@pytest.mark.parametrize("component", ["gateway", "worker"])
def test_pods_are_hardened(component: str) -> None:
    spec = pod(made(), component)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/tmp"]
    assert container["resources"]["requests"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_only_workers_get_a_token_and_only_for_endpoint_slices() -> None:
    objects = made()
    assert pod(objects, "gateway")["automountServiceAccountToken"] is False
    assert pod(objects, "worker")["automountServiceAccountToken"] is True
    assert objects["Role", "demo-worker"]["rules"] == [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}
    ]
    (subject,) = objects["RoleBinding", "demo-worker"]["subjects"]
    assert subject["name"] == pod(objects, "worker")["serviceAccountName"]


def test_gateways_have_time_to_drain() -> None:
    spec = pod(made(drain={"timeoutSeconds": 300}), "gateway")
    assert spec["terminationGracePeriodSeconds"] == 330
    assert spec["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 1}}}


def test_rollouts_of_workers_never_lose_capacity() -> None:
    strategy = made()["Deployment", "demo-worker"]["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


EVERYTHING: dict[str, Any] = {
    "rocketmq": {"tls": True, "adminTls": True, "caSecret": "ca", "credentialsSecret": "credentials", "partitions": 12},
    "workers": {"pipeline": {"transcriber": MODEL, "responder": MODEL, "synthesizer": {**MODEL, "voice": "alloy"}}},
    "session": {"maxPerPod": 77, "sendBufferBytes": 8192},
    "audio": {"batchMilliseconds": 20},
    "drain": {"policy": "Complete", "turnWaitSeconds": 9},
    "logLevel": "debug",
}


def files_of(spec: dict[str, Any]) -> set[str]:
    """Folders and files that the pod will find."""
    (container,) = spec["containers"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    found = set()
    for mount in container["volumeMounts"]:
        path = mount["mountPath"]
        items = volumes[mount["name"]].get("secret", {}).get("items") or []
        found |= {path, *(f"{path}/{item['path']}" for item in items)}
    return found


def test_gateway_settings_fit_the_program_and_the_mounts() -> None:
    objects = made(**EVERYTHING)
    text = objects["ConfigMap", "demo-gateway"]["data"]["settings.json"]
    settings = GatewaySettings.model_validate_json(text)
    files = files_of(pod(objects, "gateway"))
    assert {settings.api_keys_dir, settings.keys_dir, settings.broker.credentials_dir} <= files
    assert settings.broker.ca_file in files
    assert (settings.broker.endpoints, settings.broker.name_server) == ("proxy:8081", "names:9876")
    assert (settings.broker.partitions, settings.broker.tls, settings.broker.admin_tls) == (12, True, True)
    assert (settings.max_sessions, settings.send_buffer_bytes, settings.batch_milliseconds) == (77, 8192, 20)
    assert (settings.drain_policy, settings.drain_turn_wait_seconds, settings.log_level) == ("Complete", 9, "debug")


def test_worker_settings_fit_the_program_and_the_mounts() -> None:
    objects = made(**EVERYTHING)
    settings = WorkerSettings.model_validate_json(objects["ConfigMap", "demo-worker"]["data"]["settings.json"])
    assert settings.members.service == "shop/demo-worker"
    assert objects["Service", "demo-worker"]["spec"]["clusterIP"] == "None"
    (pipeline,) = settings.pipelines
    for stage in (pipeline.transcriber, pipeline.responder, pipeline.synthesizer):
        assert stage.use == "openai"
        (endpoint,) = OpenAISpeechOptions.model_validate(stage.options).endpoints
        assert endpoint.base_url == "http://models:8000/v1"
        assert endpoint.api_key_file in files_of(pod(objects, "worker"))
    assert OpenAISpeechOptions.model_validate(pipeline.synthesizer.options).voice == "alloy"
    assert settings.broker.credentials_dir in files_of(pod(objects, "worker"))


def test_pipelines_reach_both_programs() -> None:
    chat = {"endpoints": [{"baseUrl": "http://m/v1", "model": "m", "apiKeyFile": "/etc/litevoice/secrets/keys.b/chat"}]}
    pipelines = [
        {"name": "gpt-realtime", "responder": {"use": "openai", "options": chat}, "voices": {"coral": "b", "ash": "a"}},
        {
            "name": "bookings",
            "responder": {"use": "bookings", "options": {"Database": "/data/x", "deep": {"a": [1]}}},
            "turnDetector": {"use": "endpoint", "options": chat},
        },
    ]
    objects = made(pipelines=pipelines, workers={"secrets": ["keys.b"], "pipeline": {"aheadMilliseconds": 900}})
    worker = WorkerSettings.model_validate_json(objects["ConfigMap", "demo-worker"]["data"]["settings.json"])
    gateway = GatewaySettings.model_validate_json(objects["ConfigMap", "demo-gateway"]["data"]["settings.json"])
    assert (gateway.models, gateway.semantic_models) == (["gpt-realtime", "bookings"], ["bookings"])
    assert gateway.voices == {"gpt-realtime": ["ash", "coral"]}
    first, second = worker.pipelines
    assert (first.voices, second.voices) == ({"coral": "b", "ash": "a"}, None)
    assert (first.name, first.transcriber.use, first.responder.options) == ("gpt-realtime", "pocketsphinx", chat)
    assert (second.responder.use, second.responder.options) == ("bookings", {"Database": "/data/x", "deep": {"a": [1]}})
    assert second.synthesizer.use == "espeak-ng"
    assert first.turn_detector is None
    assert second.turn_detector == StageSettings(use="endpoint", options=chat)
    assert worker.pipeline.ahead_milliseconds == 900
    assert "/etc/litevoice/secrets/keys.b" in files_of(pod(objects, "worker"))


def test_without_pipelines_any_model_is_served() -> None:
    objects = made()
    worker = WorkerSettings.model_validate_json(objects["ConfigMap", "demo-worker"]["data"]["settings.json"])
    gateway = GatewaySettings.model_validate_json(objects["ConfigMap", "demo-gateway"]["data"]["settings.json"])
    assert gateway.models == []
    (only,) = worker.pipelines
    assert (only.transcriber.use, only.responder.use, only.synthesizer.use) == ("pocketsphinx", "demo", "espeak-ng")
    assert only.synthesizer.options == {"voice": "en"}


def test_no_credentials_no_mounts() -> None:
    objects = made()
    settings = GatewaySettings.model_validate_json(objects["ConfigMap", "demo-gateway"]["data"]["settings.json"])
    assert (settings.broker.credentials_dir, settings.broker.ca_file) == ("", "")
    assert (settings.broker.tls, settings.broker.admin_tls) == (False, False)
    assert not any("broker" in path for path in files_of(pod(objects, "gateway")))


def annotations_of(objects: dict[tuple[str, str], dict[str, Any]], component: str) -> dict[str, str]:
    found: dict[str, str] = controller(objects, component)["spec"]["template"]["metadata"]["annotations"]
    return found


def test_only_those_pods_roll_whose_settings_changed() -> None:
    before, after = made(), made(workers={"pipeline": {"aheadMilliseconds": 5000}})
    assert annotations_of(before, "gateway") == annotations_of(after, "gateway")
    assert annotations_of(before, "worker") != annotations_of(after, "worker")


def test_scaling_rolls_nothing() -> None:
    before, after = made(), made(replicas=9, workers={"replicas": 9})
    for component in ("gateway", "worker"):
        templates = [controller(objects, component)["spec"]["template"] for objects in (before, after)]
        assert templates[0] == templates[1]
        assert controller(after, component)["spec"]["replicas"] == 9


def test_pod_settings_cannot_take_the_pods_away_from_their_services() -> None:
    settings = {
        "labels": {"app.kubernetes.io/component": "other", "team": "voice"},
        "annotations": {"litevoice.dev/config-hash": "x", "note": "y"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "imagePullSecrets": ["registry"],
        "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
    }
    objects = made(pod=settings)
    template = controller(objects, "gateway")["spec"]["template"]
    assert template["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway"
    assert template["metadata"]["labels"]["team"] == "voice"
    assert template["metadata"]["annotations"]["litevoice.dev/config-hash"] != "x"
    assert template["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert template["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert template["spec"]["containers"][0]["resources"] == {
        "requests": {},
        "limits": {"cpu": "2", "memory": "1Gi"},
    }
    assert "nodeSelector" not in pod(objects, "worker")


def test_what_teams_add_to_their_pods() -> None:
    near = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "cache"}}}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]}},
        "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "podAffinityTerm": near}]},
    }  # fmt: skip
    env = [{"name": "A", "value": ""}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "b"}}}]
    env_from = [{"prefix": "C_", "configMapRef": {"name": "c", "optional": True}}]
    volumes = [
        {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
        {"name": "scratch", "emptyDir": {}}, {"name": "big", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "ca", "secret": {"secretName": "ca", "items": [{"key": "a", "path": "b"}]}},
    ]  # fmt: skip
    mounts = [{"name": "models", "mountPath": "/models", "readOnly": True}]
    parts = {
        "affinity": affinity, "priorityClassName": "calls", "imagePullPolicy": "Always", "env": env,
        "envFrom": env_from, "volumes": volumes, "volumeMounts": mounts,
    }  # fmt: skip
    for component, objects in (("gateway", made(pod=parts)), ("worker", made(workers={"pod": parts}))):
        spec, plain = pod(objects, component), pod(made(), component)
        (container,), (bare,) = spec["containers"], plain["containers"]
        assert (spec["affinity"], spec["priorityClassName"]) == (affinity, "calls")
        assert (container["envFrom"], container["imagePullPolicy"]) == (env_from, "Always")
        assert container["env"] == bare["env"] + env
        assert spec["volumes"] == plain["volumes"] + volumes
        assert container["volumeMounts"] == bare["volumeMounts"] + mounts
        assert "priorityClassName" not in plain
        assert "podAffinity" not in plain["affinity"]
        assert not {"envFrom", "imagePullPolicy"} & bare.keys()
        other = pod(objects, "worker" if component == "gateway" else "gateway")
        assert other["affinity"] != affinity


def test_spread_by_default_and_as_asked_for() -> None:
    spec = pod(made(), "worker")
    default = spec["topologySpreadConstraints"]
    assert [(one["topologyKey"], one["whenUnsatisfiable"]) for one in default] == [
        ("kubernetes.io/hostname", "ScheduleAnyway"),
    ], "one for zones would undo it where nodes have none"  # fmt: skip
    (apart,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert apart["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/zone"
    assert apart["podAffinityTerm"]["labelSelector"] == default[0]["labelSelector"]
    asked = {"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule", "minDomains": 3}
    other = pod(made(pod={"topologySpreadConstraints": [asked]}), "gateway")
    assert "affinity" not in other, "who says where pods go says it alone"
    (spread,) = other["topologySpreadConstraints"]
    assert spread == {**default[0], **asked, "labelSelector": spread["labelSelector"]}
    assert spread["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"


def test_names_that_are_litevoice_s_own_are_all_known() -> None:
    """The CRD refuses them, so a new one must be added there."""
    openai = {"openai": {"baseUrl": "http://m/v1", "model": "m", "apiKeySecret": {"name": "k"}}}
    everything = {
        "rocketmq": {"tls": True, "caSecret": "ca", "credentialsSecret": "c"},
        "workers": {"secrets": ["s"], "pipeline": dict.fromkeys(("transcriber", "responder", "synthesizer"), openai)},
    }
    objects = made(**everything)
    volumes, variables, paths = set(), set(), set()
    for component in ("gateway", "worker"):
        spec = pod(objects, component)
        volumes |= {volume["name"] for volume in spec["volumes"]}
        variables |= {variable["name"] for variable in spec["containers"][0]["env"]}
        paths |= {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert volumes - {"secret-0"} == set(OWN_VOLUMES)
    assert variables == set(OWN_ENVIRONMENT)
    assert all(path.startswith(f"{OWN_FOLDER}/") for path in paths - {"/tmp"})


def test_the_service_as_clouds_want_it() -> None:
    listen = {"serviceType": "LoadBalancer", "loadBalancerClass": "example.com/fast", "annotations": {"dns": "voice"}}
    service = made(listen=listen)["Service", "demo-gateway"]
    assert (service["spec"]["loadBalancerClass"], service["metadata"]["annotations"]) == (
        "example.com/fast", {"dns": "voice"},
    )  # fmt: skip
    plain = made()["Service", "demo-gateway"]
    assert "loadBalancerClass" not in plain["spec"]
    assert "annotations" not in plain["metadata"]


def test_clouds_give_the_pods_own_service_account_an_identity() -> None:
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/models"}
    objects = made(workers={"pod": {"serviceAccountAnnotations": role}})
    assert objects["ServiceAccount", "demo-worker"]["metadata"]["annotations"] == role
    assert "annotations" not in objects["ServiceAccount", "demo-gateway"]["metadata"]
    assert pod(objects, "worker")["serviceAccountName"] == "demo-worker"


def test_listen() -> None:
    service = made(listen={"port": 80, "serviceType": "NodePort", "nodePort": 30080})["Service", "demo-gateway"]
    (port,) = service["spec"]["ports"]
    assert (service["spec"]["type"], port["port"], port["nodePort"], port["targetPort"]) == (
        "NodePort",
        80,
        30080,
        "ws",
    )
    assert "nodePort" not in made()["Service", "demo-gateway"]["spec"]["ports"][0]
    assert service["spec"]["externalTrafficPolicy"] == "Cluster"
    assert "externalTrafficPolicy" not in made()["Service", "demo-gateway"]["spec"]
    direct = made(listen={"serviceType": "LoadBalancer", "externalTrafficPolicy": "Local"})["Service", "demo-gateway"]
    assert direct["spec"]["externalTrafficPolicy"] == "Local"


def test_the_service_selects_who_accepts() -> None:
    def selector(wanted: Gateway) -> dict[str, str]:
        services = [one for one in all_manifests(wanted, KEYS) if one["kind"] == "Service"]
        return next(one["spec"]["selector"] for one in services if one["metadata"]["name"] == "demo-gateway")

    objects = made(pod={"labels": {ACCEPTING_LABEL: "false"}})
    template = controller(objects, "gateway")["spec"]["template"]
    assert template["metadata"]["labels"].items() >= selector(gateway()).items(), "new pods need no operator"
    assert selector(gateway())[ACCEPTING_LABEL] == "true"
    assert ACCEPTING_LABEL not in selector(replace(gateway(), routed_by_label=False))
    assert ACCEPTING_LABEL not in controller(objects, "gateway")["spec"]["selector"]["matchLabels"]
    assert ACCEPTING_LABEL not in objects["PodDisruptionBudget", "demo-gateway"]["spec"]["selector"]["matchLabels"]
    assert ACCEPTING_LABEL not in objects["Deployment", "demo-worker"]["spec"]["template"]["metadata"]["labels"]


def test_every_change_of_a_template_is_another_hash() -> None:
    def template_hash(**spec: Any) -> str:
        return annotations_of(made(**spec), "gateway")[TEMPLATE_HASH_ANNOTATION]

    changes: list[dict[str, Any]] = [{"image": "mine:2"}, {"pod": {"labels": {"team": "a"}}}, {"logLevel": "debug"}]
    assert len({template_hash(), *(template_hash(**change) for change in changes)}) == 4
    assert template_hash(replicas=9, workers={"image": "mine:2"}) == template_hash()


def test_images() -> None:
    objects = made(image="mine:2", workers={"image": "other:3"})
    assert pod(objects, "gateway")["containers"][0]["image"] == "mine:2"
    assert pod(objects, "worker")["containers"][0]["image"] == "other:3"
    assert pod(made(), "gateway")["containers"][0]["image"] == "gateway:1"


@pytest.mark.parametrize(("user_id", "ids"), [(None, set()), (1000, {1000})])
def test_pods_run_as_whom_the_cluster_wants(user_id: int | None, ids: set[int]) -> None:
    manifests = all_manifests(replace(gateway(), user_id=user_id), KEYS)
    objects = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}
    for component in ("gateway", "worker"):
        security = pod(objects, component)["securityContext"]
        assert {security[key] for key in ("runAsUser", "runAsGroup", "fsGroup") if key in security} == ids
        assert security["runAsNonRoot"] is True


def test_names_by_default_and_given() -> None:
    assert gateway().names == Names("lv-shop_demo-requests", "lv-shop_demo-replies", 8)
    given = gateway(rocketmq={"requestTopic": "voice", "replyTopic": "voice-replies", "partitions": 3})
    assert given.names == Names("voice", "voice-replies", 3)


def test_gateways_and_workers_derive_the_same_names() -> None:
    several = gateway(rocketmq={"brokers": 2})
    assert several.names == Names("lv-shop_demo-requests", "lv-shop_demo-replies", 8, 2)
    assert gateway_settings(several).broker.names == worker_settings(several).broker.names == several.names


@pytest.mark.parametrize(("installed", "given", "resolved"), [
    (False, None, False), (True, None, True), (True, False, False), (False, True, True),
])  # fmt: skip
def test_admin_tls_is_the_installation_s_unless_given(installed: bool, given: bool | None, resolved: bool) -> None:
    spec = VoiceGatewaySpec.model_validate({"auth": {"apiKeysSecret": "keys"}, "rocketmq": {"adminTls": given}})
    metadata = Metadata(namespace="shop", name="demo", uid="u")
    defaults = Defaults("g:1", "w:1", "proxy:8081", "names:9876", admin_tls=installed)
    assert resolve(metadata, spec, defaults).admin_tls is resolved


def test_the_operator_s_credentials_go_to_its_own_name_servers_only() -> None:
    own = AdminAccess(tls=True, ca_file="ca.pem", access_key="ak", secret_key="sk")
    installed = Installed("names:9876", own)
    assert installed.access_to("names:9876", admin_tls=False) == own, "a VoiceGateway cannot switch its TLS off"
    assert installed.access_to("evil:9876", admin_tls=True) == AdminAccess(tls=True, ca_file="ca.pem")
    assert installed.access_to("evil:9876", admin_tls=False).access_key == ""


BAD: list[tuple[str, dict[str, Any], Defaults, str]] = [
    ("no broker", {}, Defaults("g:1", "w:1", "", "names:9876"), "rocketmq.endpoints"),
    ("no name server", {}, Defaults("g:1", "w:1", "proxy:8081", ""), "rocketmq.nameServer"),
    ("no gateway image", {}, Defaults("", "w:1", "proxy:8081", "names:9876"), "image"),
    ("no worker image", {}, Defaults("g:1", "", "proxy:8081", "names:9876"), "workers.image"),
    ("reply topic of odd characters", {"rocketmq": {"replyTopic": "ok"}, "namespace": "x" * 63}, DEFAULTS,
     "rocketmq.requestTopic"),
    ("replies in a request partition", {"rocketmq": {"requestTopic": "a", "replyTopic": "a-07"}}, DEFAULTS,
     "rocketmq.replyTopic"),
    ("replies among the fences", {"rocketmq": {"requestTopic": "a", "replyTopic": "a-control"}}, DEFAULTS,
     "rocketmq.replyTopic"),
]  # fmt: skip


@pytest.mark.parametrize(("description", "spec", "defaults", "field"), BAD, ids=[row[0] for row in BAD])
def test_bad_input_names_the_field(description: str, spec: dict[str, Any], defaults: Defaults, field: str) -> None:
    metadata = Metadata(namespace=spec.pop("namespace", "shop"), name="d" * 50, uid="u")
    wanted = VoiceGatewaySpec.model_validate({"auth": {"apiKeysSecret": "keys"}, **spec})
    with pytest.raises(InvalidField) as caught:
        resolve(metadata, wanted, defaults)
    assert caught.value.field == field
