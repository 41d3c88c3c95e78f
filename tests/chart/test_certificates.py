"""Where the webhook's certificate comes from: what is rendered for each source, and what is refused."""

from typing import Any

import pytest

from countersign import settings
from tests.chart.rendering import NAMED, NAMESPACE, OUT_OF_CLUSTER, Chart, Refused
from tests.chart.test_rbac import grants

PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
CERT_MANAGER: dict[str, Any] = {"source": "cert-manager"}
ISSUED: dict[str, Any] = {"source": "cert-manager", "certManager": {"issuerRef": {"name": "company", "kind": "ClusterIssuer"}}}
PROVIDED: dict[str, Any] = {"source": "provided", "provided": {"secretName": "our-certificate"}}


def values(certificates: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**NAMED, **more, "certificates": certificates}


def environment(chart: Chart, process: str, given: dict[str, Any]) -> dict[str, str]:
    container = chart.find("Deployment", f"countersign-{process}", given)["spec"]["template"]["spec"]["containers"][0]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def secrets(chart: Chart, process: str, given: dict[str, Any]) -> set[tuple[str, str]]:
    role = chart.find("Role", f"countersign-{process}", given)
    return {(verb, name) for _, resource, verb, name in grants(role) if resource == "secrets"}


@pytest.mark.parametrize(
    ("certificates", "source", "secret", "bundle"),
    [
        ({"source": "operator"}, "", "", ""),
        (CERT_MANAGER, "cert-manager", "countersign-webhook-cert-manager", ""),
        (ISSUED, "cert-manager", "countersign-webhook-cert-manager", ""),
        (PROVIDED, "provided", "our-certificate", ""),
        ({**PROVIDED, "caBundle": PEM}, "provided", "our-certificate", PEM),
        ({**ISSUED, "caBundle": PEM}, "cert-manager", "countersign-webhook-cert-manager", PEM),
    ],
)
def test_the_operator_is_told_the_source(chart: Chart, certificates: dict[str, Any], source: str, secret: str, bundle: str) -> None:
    given = values(certificates)
    told = environment(chart, "operator", given)
    names = ("SOURCE", "SECRET", "CA")
    assert tuple(told.get(f"COUNTERSIGN_CERTIFICATE_{name}", "") for name in names) == (source, secret, bundle)
    assert not [name for name in environment(chart, "webhook", given) if name.startswith("COUNTERSIGN_CERTIFICATE")]
    if not bundle:  # the stand-in of a bundle above is none that could be read
        fields = {name: value or "x" for name, value in told.items()} | {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
        read = settings.read(fields | {"COUNTERSIGN_NAMESPACE_OWNERS": ""}, listen="0.0.0.0:8080")
        assert (read.certificate_source, read.certificate_secret) == (source or "operator", secret)


@pytest.mark.parametrize(("certificates", "secret"), [(CERT_MANAGER, "countersign-webhook-cert-manager"), (PROVIDED, "our-certificate")])
def test_a_brought_certificate_is_read_and_nothing_else(chart: Chart, certificates: dict[str, Any], secret: str) -> None:
    served = {("get", "countersign-webhook-tls"), ("update", "countersign-webhook-tls"), ("create", "")}
    assert secrets(chart, "operator", values(certificates)) == served | {("get", secret), ("delete", "countersign-webhook-ca")}
    assert secrets(chart, "webhook", values(certificates)) == {("get", "countersign-webhook-tls")}


def test_the_webhook_never_reads_a_key_that_signs(chart: Chart) -> None:
    assert secrets(chart, "webhook", NAMED) == {("get", "countersign-webhook-tls")}


def test_cert_manager_makes_an_authority_of_its_own(chart: Chart) -> None:
    given = values(CERT_MANAGER)
    authority = chart.find("Certificate", "countersign-webhook-ca", given)["spec"]
    leaf = chart.find("Certificate", "countersign-webhook", given)["spec"]
    issuer = chart.find("Issuer", "countersign-webhook", given)["spec"]
    assert authority["isCA"]
    assert issuer == {"ca": {"secretName": authority["secretName"]}}
    assert leaf["issuerRef"] == {"name": "countersign-webhook", "kind": "Issuer", "group": "cert-manager.io"}
    assert authority["issuerRef"]["name"] == chart.find("Issuer", "countersign-webhook-self-signed", given)["metadata"]["name"]
    assert leaf["secretName"] == "countersign-webhook-cert-manager"
    assert leaf["dnsNames"] == [f"countersign-webhook.{NAMESPACE}.svc", f"countersign-webhook.{NAMESPACE}.svc.cluster.local"]
    assert leaf["usages"] == ["digital signature", "server auth"]
    assert (leaf["duration"], leaf["renewBefore"]) == ("2160h", "720h")


def test_cert_manager_signs_by_an_issuer_of_the_team(chart: Chart) -> None:
    given = values(ISSUED)
    made = {(kind, name) for kind, name in chart.names(given) if kind in {"Issuer", "Certificate"}}
    assert made == {("Certificate", "countersign-webhook")}
    assert chart.find("Certificate", "countersign-webhook", given)["spec"]["issuerRef"] == {
        "name": "company",
        "kind": "ClusterIssuer",
        "group": "cert-manager.io",
    }


@pytest.mark.parametrize(
    ("url", "names", "addresses"),
    [
        ("https://127.0.0.1:8443/validate", ["localhost"], ["127.0.0.1"]),
        ("https://[fd00::7]:8443/validate", ["localhost"], ["fd00::7"]),
        ("https://hooks.example.com/validate", ["hooks.example.com"], None),
    ],
)
def test_out_of_the_cluster_it_is_for_the_url(chart: Chart, url: str, names: list[str], addresses: list[str] | None) -> None:
    leaf = chart.find("Certificate", "countersign-webhook", {**OUT_OF_CLUSTER, "outOfCluster": {"url": url}, "certificates": CERT_MANAGER})
    assert (leaf["spec"]["dnsNames"], leaf["spec"].get("ipAddresses")) == (names, addresses)


@pytest.mark.parametrize("certificates", [{"source": "operator"}, PROVIDED])
def test_without_cert_manager_nothing_of_its_is_rendered(chart: Chart, certificates: dict[str, Any]) -> None:
    assert not {kind for kind, _ in chart.names(values(certificates))} & {"Issuer", "Certificate"}


@pytest.mark.parametrize("certificates", [{"source": "operator"}, CERT_MANAGER, ISSUED, PROVIDED, {**PROVIDED, "caBundle": PEM}])
def test_taken(chart: Chart, certificates: dict[str, Any]) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in chart.lint(values(certificates))


@pytest.mark.parametrize(
    ("certificates", "sentence"),
    [
        pytest.param({"source": "vault"}, "/certificates/source", id="a source that is none"),
        pytest.param({"source": "provided"}, "certificates.source=provided needs the Secret", id="provided, and not where"),
        pytest.param({"provided": {"secretName": "ours"}}, "the source is operator: leave one of them out", id="brought, and not wanted"),
        pytest.param(
            {**CERT_MANAGER, "provided": {"secretName": "ours"}},
            "the source is cert-manager: leave one of them out",
            id="two that bring it",
        ),
        pytest.param(
            {"certManager": {"issuerRef": {"name": "company"}}}, "issuerRef is for certificates.source=cert-manager", id="an idle issuer"
        ),
        pytest.param({"caBundle": PEM}, "the operator knows its own authority", id="an idle authority"),
        pytest.param({**PROVIDED, "caBundle": "/etc/ca.crt"}, "/certificates/caBundle", id="an authority that is a path"),
        pytest.param(
            {"source": "provided", "provided": {"secretName": "countersign-webhook-tls"}}, "is the operator's own", id="over what is served"
        ),
        pytest.param(
            {"source": "provided", "provided": {"secretName": "countersign-webhook-ca"}}, "is the operator's own", id="over the authority"
        ),
        pytest.param({"source": "provided", "provided": {"secretName": "Our_Certificate"}}, "/secretName", id="a name that is none"),
        pytest.param(
            {**CERT_MANAGER, "certManager": {"duration": "90d"}}, "/certificates/certManager/duration", id="days, which Go has not"
        ),
        pytest.param({**CERT_MANAGER, "certManager": {"issuer": "x"}}, "issuer", id="a misspelt value"),
    ],
)
def test_refused(chart: Chart, certificates: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        chart.objects(values(certificates))
