"""What the tests of the adapters over the API have in common."""

from tests.support.world import Json

NAMESPACES = "/api/v1/namespaces"


def status(code: int, reason: str = "Any") -> Json:
    return {"kind": "Status", "status": "Failure", "reason": reason, "message": f"the API server says {code}", "code": code}


RUBBISH: list[bytes] = [
    b"{}",
    b"[]",
    b"null",
    b'{"kind": "Status", "metadata": {}, "status": "Success"}',
    b'{"kind": "AnyList", "items": []}',
    b'{"kind": "AnyList", "metadata": {"resourceVersion": "1"}, "items": {}}',
    b'{"kind": "AnyList", "metadata": {"resourceVersion": "1"}, "items": [1]}',
    b'{"kind": "AnyList", "metadata": {"resourceVersion": "1", "continue": "more"}, "items": []}',
]
