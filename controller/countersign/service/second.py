"""Whether another Countersign guards this cluster: applied beside the first one, where Helm could not ask for it.

Only told, and nobody stands aside for it: whoever can point our webhook configuration at another namespace would else be rid of the operator. While the first
one's guards stand, they refuse what the second one writes.
"""

from typing import Final

from countersign.domain.document import items, mapping, text
from countersign.service.ports import Api, NotFoundError

_CONFIGURATION: Final = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/countersign"


async def another_ones_namespace(api: Api, namespace: str) -> str:
    """Where the webhook is that the configuration names, if that is not in `namespace`; else "". Raises ApiError."""
    try:
        configuration = await api.get(_CONFIGURATION)
    except NotFoundError:
        return ""
    services = [mapping(mapping(webhook, "clientConfig"), "service") for webhook in items(configuration, "webhooks")]
    places = {text(service, "namespace") for service in services} - {"", namespace}
    return min(places, default="")


def sentence(other: str, namespace: str) -> str:
    return (
        f"The namespace {other} has a Countersign that guards this cluster; this one, in {namespace}, is a second, and a cluster takes one. "
        f"Take this one away, and apply the one in {other} again, since both share their ClusterRoleBindings. If that one is gone for good: "
        "delete the ClusterRole countersign-operator, with which its guards go, and apply this one again."
    )
