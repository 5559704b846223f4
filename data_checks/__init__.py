"""Great Expectations suites over what the pipeline reads and makes, as plain reports.

``report`` and ``docs`` import nothing heavy. ``validate`` and ``suites`` import Great
Expectations, which takes seconds: import them inside the function that checks.
"""

import os

# Read once, when great_expectations is imported: it shall not call home.
os.environ["GX_ANALYTICS_ENABLED"] = "false"
