from datetime import timedelta
from pathlib import Path

import pytest

from countersign.domain.profile import Profile
from countersign.settings import SettingsError, read
from tests.support.pems import Authority

MINIMAL = {"COUNTERSIGN_API_SERVER": "https://127.0.0.1:6443", "COUNTERSIGN_CLUSTER_NAME": "prod-eu-1"}


def test_what_is_not_said_has_the_defaults_of_the_rules() -> None:
    settings = read(MINIMAL, listen="0.0.0.0:8443")
    assert (settings.request_ttl, settings.cool_off) == (timedelta(hours=24), timedelta(hours=1))
    assert (settings.listen_host, settings.listen_port) == ("0.0.0.0", 8443)
    assert settings.token_file == Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    assert settings.namespace_owners == ()
    assert settings.max_open_requests == 20
    assert settings.profile is Profile.STANDARD


def test_a_cluster_need_not_be_named() -> None:
    assert (
        read({"COUNTERSIGN_API_SERVER": "https://127.0.0.1:6443", "COUNTERSIGN_CLUSTER_NAME": ""}, listen="0.0.0.0:8443").cluster_name == ""
    )


def test_in_a_pod_the_api_server_is_where_the_kubelet_says() -> None:
    pod = {"COUNTERSIGN_CLUSTER_NAME": "prod", "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert read(pod, listen="0.0.0.0:1").api_server == "https://[fd00::1]:6443"


def test_every_fault_is_reported_at_once_by_its_variable() -> None:
    with pytest.raises(SettingsError) as refused:
        read({"COUNTERSIGN_API_SERVER": "http://plain", "COUNTERSIGN_COOL_OFF": "soon", "COUNTERSIGN_LISTEN": "8443"}, listen="0.0.0.0:1")
    lines = str(refused.value).splitlines()[1:]
    assert [line.split("=")[0].split(" ")[0] for line in lines] == [
        "COUNTERSIGN_LISTEN",
        "COUNTERSIGN_API_SERVER",
        "COUNTERSIGN_COOL_OFF",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REQUEST_TTL", "0s"),
        ("REQUEST_TTL", "-1h"),
        ("STALE_AFTER", "60"),
        ("NAMESPACE", "Not_A_Label"),
        ("CLUSTER_NAME", "two\nlines"),
        ("LISTEN", "0.0.0.0:70000"),
        ("WEBHOOK_URL", "https://user@host/validate"),
        ("NAMESPACE_OWNERS", "Tenant"),
        ("PROFILE", "Hardened"),
        ("CLIENT_CA", "/etc/ca.crt"),
        ("CLIENT_CA", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"),
        ("MAX_OPEN_REQUESTS", "0"),
        ("MAX_OPEN_REQUESTS", "many"),
        ("AUTHORIZER", "yes"),
        ("AUTHORIZER_FOLDER", "etc/kubernetes"),
        ("AUTHORIZER_FOLDER", "/etc/a'b"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"COUNTERSIGN_{name}="):
        read({**MINIMAL, f"COUNTERSIGN_{name}": value}, listen="0.0.0.0:1")


def test_owners_of_namespaces_are_listed_with_commas() -> None:
    settings = read({**MINIMAL, "COUNTERSIGN_NAMESPACE_OWNERS": "capsule.clastix.io/Tenant, a.b/C"}, listen="0.0.0.0:1")
    assert settings.namespace_owners == ("capsule.clastix.io/Tenant", "a.b/C")


def test_the_hardened_profile_is_chosen_by_name() -> None:
    assert read({**MINIMAL, "COUNTERSIGN_PROFILE": "hardened"}, listen="0.0.0.0:1").profile is Profile.HARDENED


def test_the_authorizer_is_off_unless_chosen() -> None:
    assert not read(MINIMAL, listen="0.0.0.0:1").authorizer
    chosen = read(
        {**MINIMAL, "COUNTERSIGN_AUTHORIZER": "true", "COUNTERSIGN_AUTHORIZER_FOLDER": "/var/lib/countersign"}, listen="0.0.0.0:1"
    )
    assert (chosen.authorizer, chosen.authorizer_folder) == (True, "/var/lib/countersign")


def test_an_authority_of_client_certificates_comes_with_the_names_that_count() -> None:
    authority = Authority().pem.decode()
    both = {**MINIMAL, "COUNTERSIGN_CLIENT_CA": authority, "COUNTERSIGN_CLIENT_NAMES": "a, b"}
    settings = read(both, listen="0.0.0.0:1")
    assert (settings.client_authorities, settings.client_names) == (authority, ("a", "b"))
    for one in ("COUNTERSIGN_CLIENT_CA", "COUNTERSIGN_CLIENT_NAMES"):
        with pytest.raises(SettingsError, match="go together"):
            read({name: value for name, value in both.items() if name != one}, listen="0.0.0.0:1")
