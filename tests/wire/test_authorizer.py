"""The API server's two files: what it reads strictly, within its bounds, and anew when either has changed."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from countersign.domain.resources import AgentIdentity, Meta, Subject, SubjectKind
from countersign.wire.authorizer import CONFIGURATION_FILE, KUBECONFIG_FILE, Endpoint, Site, files
from countersign.wire.shards import MAX_SHARDS
from tests.support.cel import evaluate
from tests.support.objects import account, identity

SITE = Site("countersign", "/etc/kubernetes/countersign", Endpoint.of_service("10.96.7.7", "countersign"), b"PEM")

# Of WebhookConfiguration, what Kubernetes 1.33 has (apiserver.config.k8s.io/v1): it refuses the whole file for a field that it does not know.
FIELDS = {
    "subjectAccessReviewVersion",
    "matchConditionSubjectAccessReviewVersion",
    "failurePolicy",
    "timeout",
    "authorizedTTL",
    "unauthorizedTTL",
    "connectionInfo",
    "matchConditions",
}


def configuration(*identities: AgentIdentity, site: Site = SITE) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(files(site, identities)[CONFIGURATION_FILE])
    return read


def webhooks(*identities: AgentIdentity, site: Site = SITE) -> list[dict[str, Any]]:
    return [each for each in configuration(*identities, site=site)["authorizers"] if each["type"] == "Webhook"]


def test_ours_stands_before_rbac_and_denies_when_it_fails() -> None:
    read = configuration(identity("kiro"))
    assert (read["apiVersion"], read["kind"]) == ("apiserver.config.k8s.io/v1", "AuthorizationConfiguration")
    assert [(each["type"], each["name"]) for each in read["authorizers"]] == [
        ("Node", "node"),
        ("Webhook", "countersign"),
        ("RBAC", "rbac"),
    ]
    [ours] = webhooks(identity("kiro"))
    assert ours["webhook"].keys() == FIELDS
    assert ours["webhook"]["failurePolicy"] == "Deny"
    assert ours["webhook"]["connectionInfo"] == {"type": "KubeConfigFile", "kubeConfigFile": "/etc/kubernetes/countersign/kubeconfig"}
    assert {ours["webhook"][each] for each in ("authorizedTTL", "unauthorizedTTL")} == {"1s"}


def test_nobody_is_asked_about_while_there_is_no_agent() -> None:
    assert [each["type"] for each in configuration()["authorizers"]] == ["Node", "RBAC"]


def matches(webhook: dict[str, Any], user: str, verb: str) -> bool:
    attributes = {"verb": verb, "group": "", "version": "v1", "resource": "users", "subresource": "", "namespace": "", "name": "alice"}
    request = {"user": user, "groups": [], "extra": {}, "resourceAttributes": attributes}
    return all(evaluate(each["expression"], request=request) for each in webhook["webhook"]["matchConditions"])


def test_only_agents_and_only_what_may_be_denied() -> None:
    [ours] = webhooks(identity("kiro"))
    assert matches(ours, "system:serviceaccount:agents:kiro", "impersonate")
    assert not matches(ours, "system:serviceaccount:agents:kiro", "get")
    assert not matches(ours, "alice@example.com", "impersonate")


def test_what_is_most_often_false_is_asked_first() -> None:
    """The API server stops at the first false one (matcher.go): a cluster's ordinary requests never come to the names."""
    [ours] = webhooks(identity("kiro"))
    first, second, _ = (each["expression"] for each in ours["webhook"]["matchConditions"])
    assert "kiro" not in first
    assert "kiro" in second


def test_a_new_kubeconfig_changes_the_configuration_so_that_it_is_read() -> None:
    before, after = webhooks(identity("kiro")), webhooks(identity("kiro"), site=Site(**{**_parts(), "ca_bundle": b"NEW"}))
    assert before != after
    assert matches(after[0], "system:serviceaccount:agents:kiro", "impersonate")


def _parts() -> dict[str, Any]:
    return {"namespace": SITE.namespace, "folder": SITE.folder, "endpoint": SITE.endpoint, "ca_bundle": SITE.ca_bundle}


@pytest.mark.parametrize(
    ("endpoint", "server", "name"),
    [
        (Endpoint.of_service("10.96.7.7", "countersign"), "https://10.96.7.7/authorize", "countersign-webhook.countersign.svc"),
        (Endpoint.of_service("fd00::7", "guards"), "https://[fd00::7]/authorize", "countersign-webhook.guards.svc"),
        (Endpoint.beside("https://127.0.0.1:8443/validate"), "https://127.0.0.1:8443/authorize", None),
        (Endpoint.beside("https://[::1]:8443/validate"), "https://[::1]:8443/authorize", None),
    ],
)
def test_the_kubeconfig(endpoint: Endpoint, server: str, name: str | None) -> None:
    read = yaml.safe_load(files(Site(**{**_parts(), "endpoint": endpoint}), [])[KUBECONFIG_FILE])
    [cluster] = read["clusters"]
    assert cluster["cluster"]["server"] == server
    assert cluster["cluster"].get("tls-server-name") == name
    assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]) == b"PEM"
    [context] = read["contexts"]
    assert read["current-context"] == context["name"]
    assert context["context"] == {"cluster": cluster["name"], "user": read["users"][0]["name"]}


def test_the_kubeconfig_where_a_client_certificate_is_asked_for() -> None:
    read = yaml.safe_load(files(Site(**_parts(), shows_certificate=True), [])[KUBECONFIG_FILE])
    assert read["users"] == [
        {
            "name": "kube-apiserver",
            "user": {
                "client-certificate": "/etc/kubernetes/countersign/client.crt",
                "client-key": "/etc/kubernetes/countersign/client.key",
            },
        }
    ]


NASTY = ['a"b', "a\\b", "a\nb", "a: b", "- x", "#", "\u2028", "\U0001f600", "{{x}}", "é", "%", "!tag", "\x7f", "a'b"]


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_no_name_breaks_out_of_the_file(name: str) -> None:
    [ours] = webhooks(AgentIdentity(Meta("odd"), (Subject(SubjectKind.USER, name),), ("alice",)))
    assert ours["webhook"].keys() == FIELDS
    assert matches(ours, name, "impersonate")
    assert not matches(ours, name + "x", "impersonate")
    assert files(SITE, [])[CONFIGURATION_FILE].isascii()


MANY = 6500


def many() -> list[AgentIdentity]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        AgentIdentity(
            Meta(f"agent-{number:05}", created=start + timedelta(seconds=number)),
            (account("n" * 10, f"{'a' * 10}-{number:05}"),),
            ("alice",),
        )
        for number in range(MANY)
    ]


def test_many_agents_are_dealt_over_entries_that_the_api_server_takes() -> None:
    """An expression has 100,000 code points (cel-go), a webhook 64 conditions, a ConfigMap 1 MiB."""
    identities = many()
    found = webhooks(*identities)
    assert [each["name"] for each in found] == ["countersign", *(f"countersign-{index}" for index in range(1, MAX_SHARDS))]
    assert all(len(each["expression"]) < 100_000 for hook in found for each in hook["webhook"]["matchConditions"])
    assert sum(len(text) for text in files(SITE, identities).values()) < 1024 * 1024
    last = f"system:serviceaccount:{'n' * 10}:{'a' * 10}-{MANY - 1:05}"
    assert [matches(hook, last, "impersonate") for hook in found] == [False] * (MAX_SHARDS - 1) + [True]


def test_the_worst_names_fit_a_config_map_too() -> None:
    """Quotes double when they stand in CEL in YAML; so much as the shards take of them still fits."""
    worst = [AgentIdentity(Meta(f"w{number}"), (Subject(SubjectKind.USER, f"{number}{chr(92) * 900}"),), ("a",)) for number in range(400)]
    assert sum(len(text) for text in files(SITE, worst).values()) < 1024 * 1024


def test_both_are_written_for_people_too() -> None:
    for text in files(SITE, [identity("kiro")]).values():
        assert text.startswith("# ")
        assert text.endswith("\n")
        assert json.dumps(text).isascii()
