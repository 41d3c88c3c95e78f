"""Whether another Countersign guards this cluster: applied beside the first one, where Helm could not ask for it.

Both share their cluster-wide roles and bindings, so whichever was applied last has the rights, and takes the guards over. Only told, and nobody stands aside for
it: whoever can point our webhook configuration at another namespace would else be rid of the operator.
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
        f"The Countersign of the namespace {other} guards this cluster, and this one, in {namespace}, takes over: they share their cluster-wide "
        "roles and bindings, of which the one applied last has the rights. A cluster takes one: take the other away, then apply the one that is to stay again."
    )
