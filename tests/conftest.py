"""What holds for every suite."""

import os

from hypothesis import settings

# A busy machine is no finding: speed is measured by `make bench`, never by a test's clock. The same examples every time, so that what
# passed here passes there; HYPOTHESIS=random, each night, and `make fuzz` look for new ones.
settings.register_profile("countersign", deadline=None, print_blob=True, derandomize=os.environ.get("HYPOTHESIS") != "random")
settings.load_profile("countersign")
