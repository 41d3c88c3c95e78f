import pytest

from tests.chart.rendering import Chart
from tests.controlplane import binaries
from tests.controlplane.progress import Progress


@pytest.fixture(scope="session")
def chart() -> Chart:
    """The chart, rendered by the helm that installs it in the end-to-end tests (built where it is not there yet)."""
    return Chart(binaries.ensure(["helm"], Progress())["helm"])
