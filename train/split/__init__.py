"""Split labelled crops so that nothing leaks: ``python -m train.split DATA --schema ... --output``.

The way of one split: ``train.audit`` surveys the crops and finds duplicates; ``groups`` puts
together what must stay together; ``parts`` gives every group its part; ``listed`` says which parts
existing lists prescribe; ``balance`` compares what came out with what was asked; ``files`` writes
the parts in the form that the source had.
"""

from benchmarks.command import require_packages

require_packages("train", "scipy")
