"""ServiceAccounts as events last showed them."""

from collections.abc import Iterable, Sequence

from countersign.domain.document import JsonObject, strings, text
from countersign.service.keeping import Account


class AccountBook:
    """The `Accounts` port."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], Account] = {}

    def apply(self, event: str, document: JsonObject) -> None:
        """Take one event; DELETED removes."""
        key = (text(document, "metadata", "namespace"), text(document, "metadata", "name"))
        if event == "DELETED":
            self._accounts.pop(key, None)
        else:
            self._accounts[key] = Account(*key, labels=strings(document, "metadata", "labels"))

    def replace(self, documents: Iterable[JsonObject]) -> None:
        """Take a whole list: what is not in it is gone."""
        self._accounts.clear()
        for document in documents:
            self.apply("ADDED", document)

    def all(self) -> Sequence[Account]:
        return tuple(self._accounts.values())
