"""Values that are taken, and values that are refused with a sentence."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.chart.rendering import NAMED, OUT_OF_CLUSTER, Chart, Refused

ACCEPTED: Mapping[str, dict[str, Any]] = {
    "a name alone": {},
    "no value at all": {"clusterName": ""},
    "out of the cluster": OUT_OF_CLUSTER,
    "an image by digest": {"image": {"digest": "sha256:" + "0" * 64}},
    "one replica": {"webhook": {"replicas": 1}, "operator": {"replicas": 1}},
    "seconds, for tests": {"requestTTL": "5s", "coolOff": "0s", "keepEnded": "0s", "staleAfter": "2s"},
    "no own work": {"default": {"ownWork": ""}},
    "registration closed by the installer": {"default": {"registration": "Closed"}},
    "everybody held back": {"default": {"protectFrom": "Everyone", "except": [{"kind": "User", "name": "root"}]}},
    "a selector": {"default": {"selector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["prod"]}]}}},
    "further kinds": {"default": {"resources": [{"group": "argoproj.io", "resource": "applications"}]}},
    "two signatures of a team": {"default": {"approvals": {"required": 2, "teams": ["sre"], "hardwareKeysOnly": True}}},
    "placement": {
        "webhook": {"tolerations": [{"key": "a", "operator": "Exists"}], "nodeSelector": {"a": "b"}, "affinity": {"podAffinity": {}}}
    },
    "the hardened profile": {"profile": "hardened"},
    "a client certificate of the API server": {
        "apiServerClient": {"ca": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", "commonNames": ["kube-apiserver"]}
    },
    "no network policy": {"networkPolicy": {"enabled": False}},
    "a narrow network": {"networkPolicy": {"from": ["10.0.0.1/32", "fd00::1/128"], "apiServer": ["10.0.0.0/24"]}},
    "a pull secret": {"imagePullSecrets": [{"name": "registry"}]},
    "Secrets, but not Helm's own": {
        "default": {
            "protectFrom": "People",
            "resources": [{"group": "", "resource": "secrets"}, {"group": "", "resource": "pods"}],
            "exclude": ["kube-system", "kube-public", "kube-node-lease", "countersign"],
        }
    },
}
REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "a name of two lines": ({"clusterName": "prod\nstatement: x"}, "/clusterName': value must be 'letters, digits, "),
    "a name that is too long": ({"clusterName": "x" * 64}, "/clusterName': value must be .* 63 at the most"),
    "an unknown value": ({"replicas": 3}, "additional properties 'replicas' not allowed(.|\n)*one of .*'requestTTL'"),
    "a misspelt value deep down": (
        {"default": {"approvals": {"requierd": 2}}},
        "'requierd' not allowed(.|\n)*one of 'hardwareKeysOnly', 'required', 'teams', 'useWithin'",
    ),
    "failurePolicy, which is not offered": (
        {"webhook": {"failurePolicy": "Ignore"}},
        "'failurePolicy' not allowed(.|\n)*one of 'affinity'",
    ),
    "no webhook": ({"webhook": {"replicas": 0}}, "/webhook/replicas': minimum: got 0, want 1"),
    "a replica as a string": ({"operator": {"replicas": "2"}}, "/operator/replicas': got string, want integer"),
    "a tag as a digest": ({"image": {"digest": "latest"}}, "/image/digest': value must be 'sha256: and 64 hexadecimal digits"),
    "a fraction of an hour": ({"requestTTL": "1.5h"}, "/requestTTL': value must be 'whole days, hours, minutes or seconds"),
    "requests that expire at once": ({"requestTTL": "0s"}, "/requestTTL': value must be .* more than none"),
    "no request at all": ({"maxOpenRequests": 0}, "/maxOpenRequests': minimum: got 0, want 1"),
    "half a request": ({"maxOpenRequests": 1.5}, "/maxOpenRequests': got number, want integer"),
    "a view that is always stale": ({"staleAfter": "0s"}, "/staleAfter': value must be .* more than none"),
    "signatures that cannot be used": (
        {"default": {"approvals": {"useWithin": "0m"}}},
        "/default/approvals/useWithin': value must be .* more than none",
    ),
    "no signature": ({"default": {"approvals": {"required": 0}}}, "/default/approvals/required': minimum: got 0, want 1"),
    "mode Off": ({"default": {"mode": "Off"}}, "/default/mode': value must be one of 'Audit', 'Enforce'"),
    "registration opened": ({"default": {"registration": "Open"}}, "/default/registration': value must be one of '', 'Closed'"),
    "protection from nobody": (
        {"default": {"protectFrom": "Nobody"}},
        "/default/protectFrom': value must be one of 'Agents', 'People', 'Everyone'",
    ),
    "a webhook without TLS": (
        {"outOfCluster": {"url": "http://127.0.0.1:8443/validate"}},
        "/outOfCluster/url': value must be 'https://",
    ),
    "a webhook at another path": (
        {"outOfCluster": {"url": "https://127.0.0.1:8443/"}},
        "/outOfCluster/url': value must be 'https://HOST:PORT/validate",
    ),
    "a profile that is none": ({"profile": "paranoid"}, "/profile': value must be one of 'standard', 'hardened'"),
    "any certificate of an authority": (
        {"apiServerClient": {"ca": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"}},
        "apiServerClient.ca needs apiServerClient.commonNames",
    ),
    "a name of nobody's certificate": (
        {"apiServerClient": {"commonNames": ["x"]}},
        "apiServerClient.commonNames does nothing without apiServerClient.ca",
    ),
    "a certificate that is a path": (
        {"apiServerClient": {"ca": "/etc/ca.crt", "commonNames": ["x"]}},
        "/apiServerClient/ca': value must be 'certificates in PEM",
    ),
    "two names in one": (
        {"apiServerClient": {"ca": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", "commonNames": ["a,b"]}},
        "/apiServerClient/commonNames/0': value must be 'one common name, without commas'",
    ),
    "an address that is no network": (
        {"networkPolicy": {"from": ["10.0.0.1"]}},
        "/networkPolicy/from/0': value must be 'addresses as CIDR",
    ),
    "a peer that says nothing, and so is everybody": (
        {"networkPolicy": {"metricsFrom": [{}]}},
        "/networkPolicy/metricsFrom/0': minProperties: got 0, want 1",
    ),
    "a level of logging that is none": ({"logLevel": "loud"}, "/logLevel': value must be one of 'debug', 'info', 'warning', 'error'"),
}

# Each by itself is a value that may be; together they cannot.
OUTSIDE = {"outOfCluster": OUT_OF_CLUSTER["outOfCluster"]}
CONFLICTING: Mapping[str, tuple[dict[str, Any], str]] = {
    "a narrow network without policies": (
        {"networkPolicy": {"enabled": False, "from": ["10.0.0.1/32"]}},
        "networkPolicy.from: no NetworkPolicy",
    ),
    "a narrow network of nothing": (
        {**OUTSIDE, "networkPolicy": {"apiServer": ["10.0.0.1/32"]}},
        "networkPolicy.apiServer: there is nothing",
    ),
    "an address of no Service": ({**OUTSIDE, "authorizer": {"clusterIP": "10.0.0.1"}}, "authorizer.clusterIP: there is no Service"),
    "an autoscaler of nothing": ({**OUTSIDE, "webhook": {"autoscaling": {"enabled": True}}}, "webhook.autoscaling.enabled is about pods"),
    "one folder for two": (
        {"staticManifest": {"enabled": True, "folder": "/etc/x"}, "authorizer": {"enabled": True, "folder": "/etc/x"}},
        "Give each a folder of its own",
    ),
    "an account of no namespace": (
        {"default": {"except": [{"kind": "ServiceAccount", "name": "ci"}]}},
        "ServiceAccount ci needs its namespace",
    ),
    "a user in a namespace": (
        {"default": {"except": [{"kind": "User", "name": "root", "namespace": "a"}]}},
        "the User root has no namespace",
    ),
    "one of no values": (
        {"default": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}},
        "In of the label a needs values",
    ),
    "the values of whatever exists": (
        {"default": {"selector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}},
        "Exists of the label a takes no values",
    ),
    "pods, held back from the kubelets": (
        {"default": {"protectFrom": "Everyone", "resources": [{"group": "", "resource": "pods"}]}},
        "the kubelets delete pods themselves",
    ),
    "Helm's own Secrets, held back from Helm": (
        {"default": {"protectFrom": "People", "resources": [{"group": "", "resource": "secrets"}]}},
        "Add countersign to default.exclude",
    ),
}


@pytest.mark.parametrize("values", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(chart: Chart, values: dict[str, Any]) -> None:
    assert chart.objects({**NAMED, **values})
    assert "1 chart(s) linted, 0 chart(s) failed" in chart.lint({**NAMED, **values})


@pytest.mark.parametrize(("values", "sentence"), REFUSED.values(), ids=REFUSED)
def test_refused(chart: Chart, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        chart.objects({**NAMED, **values})


@pytest.mark.parametrize(("values", "sentence"), CONFLICTING.values(), ids=CONFLICTING)
def test_what_cannot_go_together(chart: Chart, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        chart.objects({**NAMED, **values})


def test_all_that_is_wrong_is_said_at_once(chart: Chart) -> None:
    several = [CONFLICTING[name] for name in ("a narrow network without policies", "one folder for two", "an account of no namespace")]
    together: dict[str, Any] = {**NAMED}
    for values, _ in several:
        together |= values
    with pytest.raises(Refused) as refused:
        chart.objects(together)
    assert [sentence for _, sentence in several if sentence not in str(refused.value)] == []


@pytest.mark.parametrize("version", ["1.32.9", "1.31.0-eks-1"])
def test_an_older_kubernetes_is_refused(chart: Chart, version: str) -> None:
    with pytest.raises(Refused, match=f"Kubernetes v{version} is too old: Countersign needs 1.33 or newer"):
        chart.render(NAMED, "--kube-version", version)


@pytest.mark.parametrize("version", ["1.33.0", "1.33.0-gke.100", "1.37.2"])
def test_a_supported_kubernetes_is_taken(chart: Chart, version: str) -> None:
    assert chart.render(NAMED, "--kube-version", version)
