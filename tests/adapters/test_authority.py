"""The webhook's certificate: made, kept, renewed in time, and good for a real TLS client."""

import asyncio
import base64
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from countersign.adapters.authority import AUTHORITY_LIFE, CERTIFICATE_LIFE, SECRET, Authority, server_names
from countersign.adapters.certificates import ServingCertificate
from countersign.adapters.clock import SystemClock
from countersign.service.ports import ConflictError
from tests.support.api import MemoryApi
from tests.support.operator import HandClock, MemoryOwner

PATH = f"/api/v1/namespaces/countersign/secrets/{SECRET}"
SERVICE = server_names("countersign", "")


def authority(api: MemoryApi, clock: HandClock, names: tuple[str, ...] = SERVICE, owner: str = "role") -> Authority:
    return Authority(api, clock, MemoryOwner(owner), namespace="countersign", names=names)


def part(api: MemoryApi, name: str) -> bytes:
    return base64.b64decode(api.objects[PATH]["data"][name])


def leaf(api: MemoryApi) -> x509.Certificate:
    return x509.load_pem_x509_certificate(part(api, "tls.crt"))


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def test_one_is_made_for_the_names_that_the_api_server_uses(api: MemoryApi, clock: HandClock) -> None:
    bundle = await authority(api, clock).ensure()
    assert bundle == part(api, "ca.crt")
    names = leaf(api).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        "countersign-webhook.countersign.svc",
        "countersign-webhook.countersign.svc.cluster.local",
    ]
    assert api.objects[PATH]["type"] == "kubernetes.io/tls"
    leaf(api).verify_directly_issued_by(x509.load_pem_x509_certificate(bundle))


def test_names_out_of_the_cluster() -> None:
    assert server_names("x", "https://127.0.0.1:9443/validate") == ("127.0.0.1", "localhost")
    assert server_names("x", "https://hooks.example.com/validate") == ("hooks.example.com", "localhost", "127.0.0.1")


async def test_a_second_time_writes_nothing(api: MemoryApi, clock: HandClock) -> None:
    first = await authority(api, clock).ensure()
    assert await authority(api, clock).ensure() == first
    assert [call for call in api.calls if call[0] != "GET"] == [("POST", PATH.rpartition("/")[0])]


@pytest.mark.parametrize(
    ("after", "leaf_is_new", "authority_is_new"),
    [
        (CERTIFICATE_LIFE * 0.66, False, False),
        (CERTIFICATE_LIFE * 0.67, True, False),
        (CERTIFICATE_LIFE * 2, True, False),
        (AUTHORITY_LIFE * 0.66, True, False),
        (AUTHORITY_LIFE * 0.67, True, True),
    ],
)
async def test_renewed_after_two_thirds(
    api: MemoryApi, clock: HandClock, after: timedelta, leaf_is_new: bool, authority_is_new: bool
) -> None:
    bundle = await authority(api, clock).ensure()
    old = leaf(api)
    clock.forward(after)
    assert (await authority(api, clock).ensure() != bundle) is authority_is_new
    assert (leaf(api) != old) is leaf_is_new


async def test_new_names_get_a_new_certificate_of_the_same_authority(api: MemoryApi, clock: HandClock) -> None:
    bundle = await authority(api, clock).ensure()
    assert await authority(api, clock, ("127.0.0.1", "localhost")).ensure() == bundle
    names = leaf(api).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt", "ca.key"])
@pytest.mark.parametrize("value", ["", "bm90IFBFTQ==", "***"])
async def test_a_spoilt_secret_is_made_whole(api: MemoryApi, clock: HandClock, name: str, value: str) -> None:
    await authority(api, clock).ensure()
    api.objects[PATH]["data"][name] = value
    bundle = await authority(api, clock).ensure()
    leaf(api).verify_directly_issued_by(x509.load_pem_x509_certificate(bundle))


async def test_a_key_that_is_anothers_is_not_served(api: MemoryApi, clock: HandClock) -> None:
    await authority(api, clock).ensure()
    other = MemoryApi()
    await authority(other, clock).ensure()
    api.objects[PATH]["data"]["tls.key"] = other.objects[PATH]["data"]["tls.key"]
    old = leaf(api)
    await authority(api, clock).ensure()
    assert leaf(api) != old


async def test_a_secret_of_another_type_is_told(api: MemoryApi, clock: HandClock) -> None:
    api.objects[PATH] = {"type": "Opaque", "metadata": {"name": SECRET, "uid": "u", "resourceVersion": "1"}, "data": {}}
    with pytest.raises(ConflictError, match="has the type Opaque; delete it"):
        await authority(api, clock).ensure()


async def test_a_tls_client_that_trusts_the_bundle_is_served(api: MemoryApi, tmp_path: Path) -> None:
    """By the webhook's own reader of the Secret, at the time it is now."""
    now = HandClock(SystemClock().now())
    bundle = await authority(api, now, ("localhost", "127.0.0.1")).ensure()
    serving = ServingCertificate(api, now, namespace="countersign")
    await serving.refresh()
    assert serving.ready() == ""
    (tmp_path / "ca.pem").write_bytes(bundle)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=serving.context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for name in ("localhost", "127.0.0.1"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=name)
            assert await reader.read() == b"hello"
            writer.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="other.example.com")


async def test_the_secret_goes_with_the_charts_role(api: MemoryApi, clock: HandClock) -> None:
    await authority(api, clock).ensure()
    before = part(api, "tls.crt")
    assert [reference["uid"] for reference in api.objects[PATH]["metadata"]["ownerReferences"]] == ["role"]
    await authority(api, clock, owner="role-2").ensure()
    assert [reference["uid"] for reference in api.objects[PATH]["metadata"]["ownerReferences"]] == ["role-2"]
    assert part(api, "tls.crt") == before


async def test_none_is_made_while_the_chart_is_uninstalled(api: MemoryApi, clock: HandClock) -> None:
    assert await authority(api, clock, owner="").ensure() == b""
    assert api.writes() == []


@pytest.mark.parametrize("step", [timedelta(hours=-3), timedelta(days=-400), timedelta(days=300), timedelta(days=4000)])
async def test_a_clock_that_is_set_and_set_right_again(api: MemoryApi, clock: HandClock, step: timedelta) -> None:
    """At each moment what is served is valid by the clock that it was made by, and signed by the authority beside it."""
    right = authority(api, clock)
    await right.ensure()
    for move in (step, -step):
        clock.forward(move)
        bundle = await right.ensure()
        assert await right.ensure() == bundle, "no endless renewing"
        serving, issuer = leaf(api), x509.load_pem_x509_certificate(bundle)
        assert serving.not_valid_before_utc <= clock.now() < serving.not_valid_after_utc
        assert issuer.not_valid_before_utc <= clock.now() < issuer.not_valid_after_utc
        serving.verify_directly_issued_by(issuer)
