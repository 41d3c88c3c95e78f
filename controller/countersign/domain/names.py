"""The names that outlive a release: they stand in signatures, labels and other people's manifests."""

from typing import Final

GROUP: Final = "kube-countersign.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
SIGNED_AS: Final = f"{GROUP}/v1alpha1"
"""What every signature is about, whichever API version somebody speaks: it never changes (docs/decisions/0008-crd-versions.md)."""

LABEL_AGENT: Final = f"{GROUP}/agent"
LABEL_PROTECTED: Final = f"{GROUP}/protected"
ANNOTATION_CREATED_BY: Final = f"{GROUP}/created-by"
ANNOTATION_ENVIRONMENTS: Final = f"{GROUP}/environments"
ANNOTATION_REASON: Final = f"{GROUP}/reason"
ANNOTATION_REVISION: Final = f"{GROUP}/revision"
"""On our CustomResourceDefinitions: which release's they are, as a number that grows (wire/crds.py)."""

EXTRA_QUESTION: Final = f"{GROUP}/question"
"""In the extra of an access review of ours: nobody attempts this, the operator only wants to know."""

DEFAULT_ENVIRONMENT: Final = "default"


def cluster_name(uid: str) -> str:
    """What a cluster is called to which nobody has given a name, by the UID of its namespace kube-system: the same wherever it is computed."""
    return f"cluster-{uid[:8]}"
