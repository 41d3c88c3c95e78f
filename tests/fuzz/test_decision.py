"""A short run of the random lives, with the other tests; `make fuzz` runs them for as long as it is told to."""

from hypothesis import HealthCheck, settings

from tests.fuzz.machine import Life

TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
