"""What teaching takes of the memory budget, in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys

from edge_agent.memory.procfs import KB_PER_MB

MOST_OWN_MB = 2.2
"""What is written to: 1.5 MB."""
MOST_MB = 8.0
"""With the pages of libraries that are read in: 2.7 to 5 MB, as the system maps many or few at once."""

_TEACH = """
import sys
import numpy as np
from edge_agent.teach import fitting, report
from edge_agent.teach.examples import Example, Examples
from edge_agent.teach.head import Backbone

def status(field):
    text = open("/proc/self/status").read()
    return int(text.partition(field + ":")[2].split()[0])

np.ones((2, 2), np.float32) @ np.ones((2, 2), np.float32)  # the daemon has used its library for that
chance = np.random.default_rng(1)
chance.normal(size=512).astype(np.float16)  # what only this test loads
before, anonymous = status("VmRSS"), status("RssAnon")
examples = Examples()
for label in "abcdefghij":
    middle = np.maximum(chance.normal(size=512), 0)
    for burst in range(10):
        for number in range(5):
            feature = np.maximum(middle + chance.normal(size=512), 0).astype(np.float16)
            examples.add(Example(label, feature, 1e9 + 1e4 * burst + number, 100.0, burst))
assert len(examples) == 500
made = fitting.fit(examples, Backbone("ab" * 32, "native-fp16", 512))
found = report.report(examples, made)
assert found.judged == 500
made.head.answer(feature)
print(before, status("VmRSS"), status("VmHWM"), anonymous, status("RssAnon"))
"""


def test_ten_labels_of_fifty_examples_add_few_megabytes() -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as the service has it
    run = subprocess.run(
        [sys.executable, "-c", _TEACH], env=environment, capture_output=True, text=True, check=True
    )
    before, after, peak, own, own_after = (int(word) / KB_PER_MB for word in run.stdout.split())
    print(
        f"before {before:.1f} MB, after +{after - before:.2f} MB, at the peak +{peak - before:.2f} MB,"
        f" {own_after - own:.2f} MB of it its own"
    )
    assert own_after - own < MOST_OWN_MB
    assert after - before < MOST_MB
    assert peak - before < MOST_MB + 0.5  # the products of all examples, for as long as it fits
