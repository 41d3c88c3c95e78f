"""Where the API server shows a client certificate, nobody else is answered; the kubelet and Prometheus ask without one, elsewhere."""

import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.pems import Authority, Issued, ec_key, rsa_key
from tests.support.webhook import Webhook, review, webhooks

AUTHORITY = Authority()
NAME = "kube-apiserver-webhook-client"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    with webhooks(tmp_path_factory.mktemp("guarded")) as begin:
        yield begin(client_authorities=AUTHORITY.pem.decode(), callers=[NAME, "other"])


@pytest.fixture
def showing(guarded: Webhook, tmp_path: Path) -> Callable[..., ssl.SSLContext]:
    def context(pair: Issued, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        file = tmp_path / "client.pem"
        file.write_bytes(pair.key + pair.chain)
        made = guarded.trusting()
        made.maximum_version = version
        made.load_cert_chain(file)
        return made

    return context


Showing = Callable[..., ssl.SSLContext]


def post(webhook: Webhook, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    client = webhook.client(context=context)
    try:
        client.request("POST", "/validate", review(), {"content-type": "application/json"})
        answer = client.getresponse()
        return answer.status, answer.read().decode()
    finally:
        client.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_api_server_is_answered(guarded: Webhook, showing: Showing, version: ssl.TLSVersion) -> None:
    for name in (NAME, "other"):
        status, body = post(guarded, showing(AUTHORITY.issue(ec_key(), names=(name,)), version))
        assert status == 200
        assert "held: payments" in body


def test_without_a_certificate_nothing_is_judged(guarded: Webhook) -> None:
    status, body = post(guarded)
    assert status == 403
    assert body.startswith("AdmissionReviews are taken from the API server alone, and this connection shows no client certificate: ")


@pytest.mark.parametrize("names", [("kubelet",), (NAME.upper(),), (NAME, NAME), (NAME, "x"), ()])
def test_another_certificate_of_the_same_authority_is_not_enough(guarded: Webhook, showing: Showing, names: tuple[str, ...]) -> None:
    status, body = post(guarded, showing(AUTHORITY.issue(ec_key(), names=names)))
    assert status == 403
    assert ("this connection shows the certificate of" in body) == (len(names) == 1)


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(lambda: Authority().issue(ec_key(), names=(NAME,)), id="of another authority"),
        pytest.param(lambda: AUTHORITY.issue(ec_key(), names=(NAME,), ends_in=-timedelta(seconds=5)), id="expired"),
        pytest.param(lambda: AUTHORITY.issue(ec_key(), names=(NAME,), usage=ExtendedKeyUsageOID.SERVER_AUTH), id="for servers"),
    ],
)
def test_a_certificate_that_is_not_good_ends_the_connection(guarded: Webhook, showing: Showing, pair: Callable[[], Issued]) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        post(guarded, showing(pair()))


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_the_kubelet_and_prometheus_need_none(guarded: Webhook, path: str) -> None:
    assert guarded.ask("GET", path)[0] == 200


def test_a_renewed_serving_certificate_changes_nothing_about_it(guarded: Webhook, showing: Showing) -> None:
    """The newest pair is served from a context of its own, which has to ask for the same."""
    good = showing(AUTHORITY.issue(ec_key(), names=(NAME,)))
    for key in (rsa_key(), ec_key()):
        renewed = guarded.authority.issue(key)
        guarded.serve(renewed)
        guarded.wait_serving(renewed)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            assert post(guarded, showing(AUTHORITY.issue(ec_key(), names=(NAME,)), version))[0] == 200
        assert post(guarded, good)[0] == 200
        assert post(guarded)[0] == 403
    with pytest.raises((ssl.SSLError, ConnectionError)):
        post(guarded, showing(Authority().issue(ec_key(), names=(NAME,))))


def test_strangers_are_counted(guarded: Webhook) -> None:
    post(guarded)
    counted = [line for line in guarded.ask("GET", "/metrics")[1].splitlines() if line.startswith("countersign_webhook_unreadable_total")]
    assert any('code="403"' in line and not line.endswith(" 0.0") for line in counted)
