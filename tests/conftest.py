"""What holds for every suite."""

from hypothesis import settings

# A busy machine is no finding: speed is measured by `make bench`, never by a test's clock.
settings.register_profile("countersign", deadline=None, print_blob=True)
settings.load_profile("countersign")
