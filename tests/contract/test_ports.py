"""The ports in memory keep what the real adapters promise."""

from tests.support.contracts import Ports


class TestPorts(Ports):
    """Against each of the sites of conftest.py."""
