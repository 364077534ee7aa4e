"""Keys and certificates of a VoiceGateway, and the Secrets that hold them."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from litevoice_operator.api.resolved import resolve
from litevoice_operator.api.resource import Metadata
from litevoice_operator.manifests.certificates import admin_certificate
from litevoice_operator.manifests.keys import derive_keys, keys_secret_name, worker_keys_secret_name
from litevoice_operator.observe.pods import read_pod
from tests.unit.operator.test_manifests import DEFAULTS, KEYS, SECRET, WORKER_SECRET, controller, gateway, made, pod


def test_keys_are_stable_and_of_one_gateway_only() -> None:
    assert derive_keys(b"k" * 32, "shop", "demo") == KEYS
    others = [
        derive_keys(b"x" * 32, "shop", "demo"),
        derive_keys(b"k" * 32, "shop", "other"),
        derive_keys(b"k" * 32, "other", "demo"),
    ]
    every = [key for keys in (KEYS, *others) for key in (keys.session_signing_key, keys.admin_token)]
    assert len(set(every)) == 8
    assert all(len(bytes.fromhex(key)) == 32 for key in every)


def test_the_name_of_the_secret_says_what_is_in_it_and_for_whom() -> None:
    other_uid = resolve(Metadata(namespace="shop", name="demo", uid="uid-2"), gateway().spec, DEFAULTS)
    other_keys = derive_keys(b"x" * 32, "shop", "demo")
    names = {
        name(*given)
        for name in (keys_secret_name, worker_keys_secret_name)
        for given in ((gateway(), KEYS), (other_uid, KEYS), (gateway(), other_keys))
    }
    assert names >= {SECRET, WORKER_SECRET}
    assert len(names) == 6
    assert all(name.startswith("demo-keys-") for name in names)
    assert pod(made(), "gateway")["volumes"][3]["secret"]["secretName"] == SECRET


def test_keys_are_not_shown() -> None:
    assert KEYS.admin_token not in repr(KEYS)
    certificate, workers = admin_certificate(KEYS.admin_token), admin_certificate(KEYS.worker_token)
    assert decoded(SECRET) == {
        "session-signing-key": KEYS.session_signing_key.encode(),
        "admin-token": KEYS.admin_token.encode(),
        "admin-tls.crt": certificate.certificate,
        "admin-tls.key": certificate.key,
    }
    assert decoded(WORKER_SECRET) == {"admin-tls.crt": workers.certificate, "admin-tls.key": workers.key}
    others = [manifest for (kind, _), manifest in made().items() if kind != "Secret"]
    assert KEYS.admin_token not in json.dumps(others)
    for shown in (json.dumps([*made().values()]), str(decoded(WORKER_SECRET))):
        assert KEYS.worker_token not in shown


def decoded(secret: str) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in made()["Secret", secret]["data"].items()}


@pytest.mark.parametrize("component", ["gateway", "worker"])
def test_pods_have_an_admin_port_with_tls(component: str) -> None:
    objects = made()
    template = controller(objects, component)["spec"]["template"]
    assert read_pod(template).sealed
    (container,) = template["spec"]["containers"]
    settings = json.loads(objects["ConfigMap", f"demo-{component}"]["data"]["settings.json"])
    (volume,) = [one for one in template["spec"]["volumes"] if one["name"] == "keys"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "keys"]
    assert {"name": "admin-tls", "containerPort": settings["adminTlsPort"], "protocol": "TCP"} in container["ports"]
    assert mount["mountPath"] == settings["adminTlsDir"]
    assert volume["secret"]["secretName"] == (SECRET if component == "gateway" else WORKER_SECRET)
    assert {"admin-tls.crt", "admin-tls.key"} <= decoded(volume["secret"]["secretName"]).keys()


def test_workers_know_what_their_admin_token_hashes_to() -> None:
    settings = json.loads(made()["ConfigMap", "demo-worker"]["data"]["settings.json"])
    assert settings["adminTokenSha256"] == hashlib.sha256(KEYS.worker_token.encode()).hexdigest()
    assert KEYS.worker_token != KEYS.admin_token
