"""The tests. They mirror the package."""

import os

# Before numpy is imported, and as the service has it: a second thread of its library only waits here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
