"""Change requests in the cluster: created by the webhook, read back where another was first."""

from countersign.domain.errors import UnableError
from countersign.domain.names import GROUP, VERSION
from countersign.domain.resources import ChangeRequest
from countersign.service.ports import Api, ApiError, ConflictError, NotFoundError
from countersign.wire.errors import WireError
from countersign.wire.resources import parse_change_request, render_change_request

_PATH = f"/apis/{GROUP}/{VERSION}/changerequests"


_INVALID = 422
_BY_SCHEMA = " is invalid: "


class ApiRequests:
    """The `Requests` port."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, request: ChangeRequest, *, timeout: float) -> bool:
        """False where the name is taken. Raises UnableError, and WireError where its schema can never hold it (a name past all bounds)."""
        try:
            await self._api.create(_PATH, render_change_request(request), timeout=timeout)
        except ConflictError:
            return False
        except ApiError as error:
            if error.status == _INVALID and _BY_SCHEMA in str(error):  # a policy of somebody's may say 422 as well
                raise WireError(f"This cannot be put before people to sign, so it cannot be done: {error}") from error
            raise UnableError(f"no change request could be written ({error}).") from error
        return True

    async def get(self, name: str, *, timeout: float) -> ChangeRequest | None:
        """None also for one that cannot be read: it is not ours then. Raises UnableError."""
        try:
            return parse_change_request(await self._api.get(f"{_PATH}/{name}", timeout=timeout))
        except (NotFoundError, WireError):
            return None
        except ApiError as error:
            raise UnableError(f"the change request could not be read ({error}).") from error
