"""The faults that `python -m tests.fuzz.planted` puts into the core still have their places; whether they are found is for the nightly run."""

import pytest

from tests.fuzz import planted
from tests.fuzz.planted import FAULTS, ROOT, Planted


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_has_its_place(fault: Planted) -> None:
    text = (ROOT / "controller" / "countersign" / fault.file).read_text()
    assert text.count(fault.old) == 1, f"write it anew in tests/fuzz/planted.py: {fault.old!r}"
    compile(text.replace(fault.old, fault.new), fault.file, "exec")


def test_a_fault_that_does_not_fit_is_told() -> None:
    with pytest.raises(SystemExit, match="write it anew"):
        planted.hunt(Planted("nothing of the kind", "domain/decide.py", "no such line", ""))
