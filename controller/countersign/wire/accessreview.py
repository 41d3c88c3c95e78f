"""SubjectAccessReview (authorization.k8s.io/v1): what the API server's whole chain of authorizers says of somebody else's request."""

from typing import Any, Final

from countersign.domain.document import JsonObject, mapping
from countersign.domain.names import EXTRA_QUESTION
from countersign.domain.rbac import Request
from countersign.domain.request import UserInfo

PATH: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def render_review(user: UserInfo, request: Request) -> dict[str, Any]:
    attributes = {
        "verb": request.verb,
        "group": request.group,
        "version": "*",
        "resource": request.resource,
        "subresource": request.subresource,
        "namespace": request.namespace,
        "name": request.name,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user.username,
            "groups": sorted(user.groups),
            "extra": {**{key: list(values) for key, values in user.extra.items()}, EXTRA_QUESTION: ["posture"]},
            "resourceAttributes": {key: value for key, value in attributes.items() if value},
        },
    }


def parse_answer(document: JsonObject) -> bool:
    """Only a plain yes is one."""
    return mapping(document, "status").get("allowed") is True
