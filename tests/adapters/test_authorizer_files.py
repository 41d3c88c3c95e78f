"""The ConfigMap with the API server's files, kept as identities and authority are."""

# a port's methods take what the port says

from datetime import timedelta
from typing import Any

import pytest

from countersign.adapters.authorizer_files import INSPECTION, ConfigMapFiles
from countersign.service.ports import ApiError, NotFoundError
from tests.support.objects import identity
from tests.support.operator import HandClock

MAP = "/api/v1/namespaces/countersign/configmaps/countersign-authorizer"
SERVICE = "/api/v1/namespaces/countersign/services/countersign-webhook"


class Objects:
    """Holds documents by path; counts what is asked."""

    def __init__(self, **documents: Any) -> None:
        self.documents: dict[str, Any] = {MAP: {"metadata": {}}, SERVICE: {"spec": {"clusterIP": "10.96.7.7"}}} | documents
        self.reads: list[str] = []
        self.patches = 0

    async def get(self, path: str, **_parts: Any) -> Any:
        self.reads.append(path)
        if self.documents.get(path) is None:
            raise NotFoundError(404, "not found")
        return self.documents[path]

    async def patch(self, path: str, body: Any, **_parts: Any) -> Any:
        self.patches += 1
        self.documents[path] = {**self.documents[path], "data": {**self.documents[path].get("data", {}), **body["data"]}}
        return self.documents[path]

    @property
    def data(self) -> dict[str, str]:
        written: dict[str, str] = self.documents[MAP].get("data", {})
        return written


def keeper(api: Any, clock: HandClock, url: str = "") -> ConfigMapFiles:
    return ConfigMapFiles(api, clock, namespace="countersign", webhook_url=url, folder="/etc/kubernetes/countersign")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def test_the_files_are_written_once_and_again_when_there_is_news(clock: HandClock) -> None:
    api = Objects()
    files = keeper(api, clock)
    for _ in range(3):
        await files.keep([identity("kiro")], b"CA")
    assert api.patches == 1
    assert api.data.keys() == {"authorization.yaml", "kubeconfig"}
    assert "10.96.7.7" in api.data["kubeconfig"]
    assert "agents:kiro" in api.data["authorization.yaml"]
    await files.keep([identity("kiro"), identity("otto")], b"CA")
    assert (api.patches, "agents:otto" in api.data["authorization.yaml"]) == (2, True)
    await files.keep([identity("kiro"), identity("otto")], b"NEW CA")
    assert api.patches == 3


async def test_in_between_nothing_is_asked(clock: HandClock) -> None:
    api = Objects()
    files = keeper(api, clock)
    await files.keep([identity("kiro")], b"CA")
    asked = len(api.reads)
    clock.forward(timedelta(seconds=INSPECTION - 1))
    await files.keep([identity("kiro")], b"CA")
    assert len(api.reads) == asked


async def test_what_somebody_else_wrote_is_put_right(clock: HandClock) -> None:
    api = Objects()
    files = keeper(api, clock)
    await files.keep([identity("kiro")], b"CA")
    api.documents[MAP]["data"]["authorization.yaml"] = "authorizers: [{type: AlwaysAllow}]"
    clock.forward(timedelta(seconds=INSPECTION))
    await files.keep([identity("kiro")], b"CA")
    assert "AlwaysAllow" not in api.data["authorization.yaml"]


async def test_out_of_the_cluster_no_service_is_asked_for(clock: HandClock) -> None:
    api = Objects(**{SERVICE: None})
    await keeper(api, clock, "https://127.0.0.1:8443/validate").keep([identity("kiro")], b"CA")
    assert '"https://127.0.0.1:8443/authorize"' in api.data["kubeconfig"]


@pytest.mark.parametrize("address", ["", "None"])
async def test_without_an_address_nothing_is_written(clock: HandClock, address: str, caplog: pytest.LogCaptureFixture) -> None:
    api = Objects(**{SERVICE: {"spec": {"clusterIP": address}}})
    files = keeper(api, clock)
    await files.keep([identity("kiro")], b"CA")
    assert not api.data
    assert "no address yet" in caplog.text
    api.documents[SERVICE] = {"spec": {"clusterIP": "10.96.7.7"}}
    await files.keep([identity("kiro")], b"CA")
    assert api.data


async def test_a_config_map_that_is_gone_is_said_and_stops_nothing(clock: HandClock, caplog: pytest.LogCaptureFixture) -> None:
    api = Objects(**{MAP: None})
    await keeper(api, clock).keep([identity("kiro")], b"CA")
    assert "helm upgrade" in caplog.text


async def test_another_error_is_tried_again(clock: HandClock) -> None:
    class Down(Objects):
        down = True

        async def patch(self, path: str, body: Any, **parts: Any) -> Any:
            if self.down:
                raise ApiError(500, "no")
            return await super().patch(path, body, **parts)

    api = Down()
    files = keeper(api, clock)
    with pytest.raises(ApiError):
        await files.keep([identity("kiro")], b"CA")
    api.down = False
    await files.keep([identity("kiro")], b"CA")
    assert api.data
