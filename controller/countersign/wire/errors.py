"""The errors of the wire.

CountersignError (domain)
└── WireError     an object that is not of its kind's shape
"""

from countersign.domain.errors import CountersignError


class WireError(CountersignError):
    """An object is not of its kind's shape: `str()` names the object, the field and what to write instead."""
