"""Whether the API server answers this replica, asked every other second: a replica that is cut off from it should be asked no more.

The watches notice it as well, but late: they are quiet for minutes in a calm cluster, and a connection that is cut in silence ends by a
timeout. The bound is longer than an API server takes to restart: else every replica would leave the Service together, for nothing.
"""

import asyncio
from typing import Final

from countersign.service.ports import Api, ApiError, Clock

EVERY: Final = 2.0
SILENCE: Final = 15.0

_PATH: Final = "/version"  # everybody may read it, and it costs nothing to answer
_TIMEOUT: Final = 2.0


class Reach:
    """`run` until cancelled; `ready` is for /readyz."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._heard = clock.monotonic()

    async def run(self) -> None:
        while True:
            await self.ask()
            await asyncio.sleep(EVERY)

    async def ask(self) -> None:
        try:
            await self._api.get(_PATH, timeout=_TIMEOUT)
        except ApiError as error:
            if error.status == 0:
                return
        self._heard = self._clock.monotonic()  # a refusal is an answer too

    def ready(self) -> str:
        """Empty, or the sentence that says for how long nothing was heard."""
        silent = self._clock.monotonic() - self._heard
        return "" if silent <= SILENCE else f"the API server has not answered this replica for {silent:.0f} s."
