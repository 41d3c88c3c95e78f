"""Values that are taken, and values that are refused with a sentence."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, NAMED, OUT_OF_CLUSTER, Chart, Refused

DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

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
}
REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "a name of two lines": ({"clusterName": "prod\nstatement: x"}, "/clusterName"),
    "a name that is too long": ({"clusterName": "x" * 64}, "/clusterName"),
    "an unknown value": ({"replicas": 3}, "additional properties 'replicas' not allowed"),
    "a misspelt value deep down": ({"default": {"approvals": {"requierd": 2}}}, "requierd"),
    "failurePolicy, which is not offered": ({"webhook": {"failurePolicy": "Ignore"}}, "failurePolicy"),
    "no webhook": ({"webhook": {"replicas": 0}}, "/webhook/replicas"),
    "a replica as a string": ({"operator": {"replicas": "2"}}, "/operator/replicas"),
    "a tag as a digest": ({"image": {"digest": "latest"}}, "/image/digest"),
    "a fraction of an hour": ({"requestTTL": "1.5h"}, "/requestTTL"),
    "requests that expire at once": ({"requestTTL": "0s"}, "/requestTTL"),
    "no request at all": ({"maxOpenRequests": 0}, "/maxOpenRequests"),
    "half a request": ({"maxOpenRequests": 1.5}, "/maxOpenRequests"),
    "a view that is always stale": ({"staleAfter": "0s"}, "/staleAfter"),
    "signatures that cannot be used": ({"default": {"approvals": {"useWithin": "0m"}}}, "/default/approvals/useWithin"),
    "no signature": ({"default": {"approvals": {"required": 0}}}, "/default/approvals/required"),
    "mode Off": ({"default": {"mode": "Off"}}, "/default/mode"),
    "registration opened": ({"default": {"registration": "Open"}}, "/default/registration"),
    "protection from nobody": ({"default": {"protectFrom": "Nobody"}}, "/default/protectFrom"),
    "a webhook without TLS": ({"outOfCluster": {"url": "http://127.0.0.1:8443/validate"}}, "/outOfCluster/url"),
    "a webhook at another path": ({"outOfCluster": {"url": "https://127.0.0.1:8443/"}}, "/outOfCluster/url"),
    "a profile that is none": ({"profile": "paranoid"}, "/profile"),
    "any certificate of an authority": (
        {"apiServerClient": {"ca": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"}},
        "/apiServerClient",
    ),
    "a name of nobody's certificate": ({"apiServerClient": {"commonNames": ["x"]}}, "/apiServerClient"),
    "a certificate that is a path": ({"apiServerClient": {"ca": "/etc/ca.crt", "commonNames": ["x"]}}, "/apiServerClient/ca"),
    "two names in one": (
        {"apiServerClient": {"ca": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", "commonNames": ["a,b"]}},
        "/apiServerClient/commonNames",
    ),
    "an address that is no network": ({"networkPolicy": {"from": ["10.0.0.1"]}}, "/networkPolicy/from"),
    "a peer that says nothing, and so is everybody": ({"networkPolicy": {"metricsFrom": [{}]}}, "/networkPolicy/metricsFrom"),
    "a level of logging that is none": ({"logLevel": "loud"}, "/logLevel"),
}


@pytest.mark.parametrize("values", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(chart: Chart, values: dict[str, Any]) -> None:
    assert chart.objects({**NAMED, **values})
    assert "1 chart(s) linted, 0 chart(s) failed" in chart.lint({**NAMED, **values})


@pytest.mark.parametrize(("values", "sentence"), REFUSED.values(), ids=REFUSED)
def test_refused(chart: Chart, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        chart.objects({**NAMED, **values})


def test_the_schema_is_closed_and_knows_every_value() -> None:
    def check(schema: dict[str, Any], values: dict[str, Any], path: str) -> None:
        if "$ref" in schema:
            schema = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[-1]]
        assert schema.get("additionalProperties") is False, path
        assert set(schema["properties"]) - {"global"} >= set(values), path
        for name, value in values.items():
            if isinstance(value, dict) and value and name not in {"resources", "podLabels", "podAnnotations"}:
                check(schema["properties"][name], value, f"{path}.{name}")

    check(SCHEMA, DEFAULTS, "values")


def test_every_value_is_explained() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    bare = [
        line for above, line in pairwise(lines) if ":" in line and not line.lstrip().startswith("#") and not above.lstrip().startswith("#")
    ]
    assert [line.split(":")[0].strip() for line in bare] == ["requests", "limits"] * 2
