"""Who may break the glass: a human who holds the verb `break-glass`, which a cluster administrator does, and an editor of environments not.

The webhook checks the rest (domain/emergency.py); this is in process, so that RBAC decides who may do without signatures, and nobody else.
"""

from typing import Final

from countersign.domain.names import DEFAULT_ENVIRONMENT, GROUP
from countersign.wire.cel import every, is_human, literal
from countersign.wire.guards.objects import Guard, Rule, Site, condition, constraints, policy, refusal

NAME: Final = "countersign-glass"
VERB: Final = "break-glass"


def glass_policies(site: Site) -> list[Guard]:
    glass = "object.?spec.glass.orValue({})"
    before = "(oldObject == null ? {} : oldObject.?spec.glass.orValue({}))"
    may = f"authorizer.group({literal(GROUP)}).resource('protectedenvironments').name({literal(DEFAULT_ENVIRONMENT)}).check({literal(VERB)}).allowed()"
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(Rule(GROUP, ["protectedenvironments"], ["CREATE", "UPDATE"])),
        "matchConditions": [condition("glass-is-announced", f"{glass} != {{}} && {glass} != {before}")],
        "validations": [
            refusal(
                every(is_human(), may),
                f"To break the glass takes a human with the verb {VERB} on protectedenvironments.{GROUP} (ClusterRole countersign-break-glass, and whoever may do everything).",
            ),
        ],
    }
    return policy(site, NAME, spec)
