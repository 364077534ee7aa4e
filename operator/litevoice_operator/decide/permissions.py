"""What the operator needs to be allowed in each namespace that it watches: the chart grants the same. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

NEEDED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("litevoice.dev", "voicegateways"): ("get", "list", "watch", "patch"),
    ("litevoice.dev", "backlogalerts"): ("get", "list", "watch", "patch"),
    ("litevoice.dev", "voicegateways/status"): ("patch",),
    ("litevoice.dev", "backlogalerts/status"): ("patch",),
    ("litevoice.dev", "voicegateways/finalizers"): ("update",),
    ("apps", "deployments"): ("get", "create", "patch", "delete"),
    ("apps", "replicasets"): ("get", "list", "watch", "create", "patch", "delete"),
    ("", "services"): ("get", "create", "patch"),
    ("", "serviceaccounts"): ("get", "create", "patch"),
    ("", "configmaps"): ("create", "patch"),
    ("policy", "poddisruptionbudgets"): ("get", "create", "patch"),
    ("rbac.authorization.k8s.io", "roles"): ("get", "create", "patch"),
    ("rbac.authorization.k8s.io", "rolebindings"): ("get", "create", "patch"),
    ("", "secrets"): ("create",),
    ("", "pods"): ("get", "list", "watch", "patch"),
    ("discovery.k8s.io", "endpointslices"): ("get", "list", "watch"),
    ("", "events"): ("create", "list"),
}
"""API group and resource → verbs."""


def lacking(rules: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Resource → verbs of NEEDED that `rules` do not grant; these as in a SelfSubjectRulesReview. What is granted for
    objects of certain names only does not count."""
    listed = [rule for rule in rules if not rule.get("resourceNames")]
    found = {}
    for (group, resource), verbs in NEEDED.items():
        granted = {
            verb
            for rule in listed
            if _has(rule, "apiGroups", group) and _has(rule, "resources", resource, f"*/{resource.rpartition('/')[2]}")
            for verb in rule.get("verbs") or ()
        }
        if missing := [verb for verb in verbs if verb not in granted and "*" not in granted]:
            found[f"{resource}.{group}" if group else resource] = missing
    return found


def _has(rule: Mapping[str, Any], name: str, *wanted: str) -> bool:
    return bool({"*", *wanted} & set(rule.get(name) or ()))
