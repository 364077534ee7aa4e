"""The chart's values: what is refused, with the field named, and that each has a schema and a comment."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
import yaml

from tests.unit.chart.charts import CHART, DEV, OWN, Chart, Manifest


@pytest.mark.parametrize(
    ("value", "field"),
    [
        pytest.param("gatewy.image.tag=1", "'gatewy' not allowed", id="unknown name"),
        pytest.param("operator.imge=1", "/operator", id="unknown name further down"),
        pytest.param("operator.logLevel=loud", "/operator/logLevel", id="unknown level"),
        pytest.param("imagePullPolicy=Sometimes", "/imagePullPolicy", id="unknown pull policy"),
        pytest.param("operator.image.repository=Foo", "/operator/image/repository", id="upper case repository"),
        pytest.param("worker.image.repository=a/b:1", "/worker/image/repository", id="tag in the repository"),
        pytest.param("gateway.image.tag=a b", "/gateway/image/tag", id="space in a tag"),
        pytest.param("gateway.image.digest=sha256:abc", "/gateway/image/digest", id="short digest"),
        pytest.param(f"worker.image.digest={'a' * 64}", "/worker/image/digest", id="digest without its kind"),
        pytest.param("openshift=4", "/openshift", id="a version instead of yes"),
        pytest.param("rocketmq.endpoints=proxy", "/rocketmq/endpoints", id="endpoint without a port"),
        pytest.param("rocketmq.endpoints=::1:8081", "/rocketmq/endpoints", id="IPv6 without brackets"),
        pytest.param("rocketmq.nameServer=http://a:9876", "/rocketmq/nameServer", id="URL as a name server"),
        pytest.param("rocketmq.adminTls=yes please", "/rocketmq/adminTls", id="TLS not a boolean"),
        pytest.param("rocketmq.credentialsSecret=A", "/rocketmq/credentialsSecret", id="illegal credentials Secret"),
        pytest.param("rocketmq.caSecret=a b", "/rocketmq/caSecret", id="illegal authority Secret"),
        pytest.param("rocketmq.dev.enabled=maybe", "/rocketmq/dev/enabled", id="not a boolean"),
        pytest.param("rocketmq.dev.broker.heap=512Mi", "/rocketmq/dev/broker/heap", id="Kubernetes unit for Java"),
        pytest.param("rocketmq.dev.persistence.size=5", "/rocketmq/dev/persistence/size", id="size without unit"),
        pytest.param("operator.resources.limits.memory=lots", "/operator/resources/limits/memory", id="no quantity"),
        pytest.param('watchNamespaces=["A"]', "/watchNamespaces/0", id="illegal namespace"),
        pytest.param('watchNamespaces=["a","a"]', "/watchNamespaces", id="namespace twice"),
        pytest.param("watchNamespaces=[]", "watchNamespaces: name the namespaces", id="no namespace"),
        pytest.param('watchNamespaces=["a","*"]', 'watchNamespaces: "*" stands for all', id="all and one"),
        pytest.param('networkPolicies.metricsFrom=[{"pod":{}}]', "/networkPolicies/metricsFrom/0", id="no peer"),
        pytest.param("fullnameOverride=-a", "/fullnameOverride", id="illegal name"),
        pytest.param("rootKey.existingSecret=A", "/rootKey/existingSecret", id="illegal Secret name"),
        pytest.param(
            "alerts.prometheusRule.runbookUrl=wiki", "/alerts/prometheusRule/runbookUrl", id="no address of runbooks"
        ),
        pytest.param('alerts.prometheusRule.fleetLabels=["a-b"]', "/fleetLabels/0", id="no label's name"),
    ],
)
def test_wrong_value_is_refused_and_the_field_named(chart: Chart, value: str, field: str) -> None:
    result = chart.template(value)
    assert result.returncode != 0
    assert field in result.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            (*DEV, "rocketmq.endpoints=a:1", "rocketmq.nameServer=a:2"),
            "rocketmq.endpoints and rocketmq.nameServer must be empty",
            id="own RocketMQ and another one",
        ),
        pytest.param(("rocketmq.endpoints=a:1",), "rocketmq.nameServer belong together", id="no name server"),
        pytest.param(("rocketmq.nameServer=a:1",), "rocketmq.endpoints and", id="no proxy"),
        pytest.param(
            (*DEV, "rocketmq.credentialsSecret=mq"),
            "rocketmq.credentialsSecret needs rocketmq.nameServer",
            id="credentials for the development RocketMQ",
        ),
        pytest.param(("rocketmq.adminTls=true",), "rocketmq.adminTls needs rocketmq.nameServer", id="TLS to nobody"),
        pytest.param((*OWN, "rocketmq.caSecret=mq-ca"), "rocketmq.caSecret needs rocketmq.adminTls", id="no TLS"),
    ],
)
def test_contradicting_values(chart: Chart, values: tuple[str, ...], message: str) -> None:
    result = chart.template(*values)
    assert result.returncode != 0
    assert message in result.stderr


def test_schema_knows_every_value_and_no_other() -> None:
    """A value without a schema would not be checked; one in the schema alone would do nothing."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def described(node: Manifest) -> Manifest:
        reference = node.get("$ref", "")
        return dict(schema["$defs"][reference.removeprefix("#/$defs/")]) if reference else node

    def compare(path: str, node: Manifest, value: object) -> Iterator[str]:
        node = described(node)
        if not isinstance(value, dict) or "properties" not in node:
            return
        assert node["additionalProperties"] is False, path
        yield from (f"{path}.{name}" for name in node["properties"].keys() ^ value.keys())
        for name in node["properties"].keys() & value.keys():
            yield from compare(f"{path}.{name}", node["properties"][name], value[name])

    # Helm itself adds `global` when the chart is part of another one.
    assert set(compare("", schema, values)) == {".global"}


def test_every_value_is_commented() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    resources = {"requests", "limits", "cpu", "memory", "resources"}
    bare = []
    for before, line in itertools.pairwise(lines):
        name, colon, content = line.strip().partition(":")
        is_leaf = bool(colon) and content.strip() != "" and not line.strip().startswith("#")
        if is_leaf and name not in resources and not before.strip().startswith("#"):
            bare.append(line)
    assert bare == []
