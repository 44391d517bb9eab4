"""The best artifact that keeps a budget: ``python -m compress.search CHECKPOINT --budget FILE``.

Three phases, each dearer and run on fewer candidates than the one before:

1. ``screening``: every network is cut *untrained*, exported and timed. Speed and size do not
   depend on what the weights are, so what cannot keep the budget never trains.
2. ``exploring``: short trainings, chosen by Optuna (``trials``), say which networks hold accuracy.
3. ``confirming``: the best are trained fully, exported through their gates, and judged by the
   budget as ``benchmarks.accuracy`` and ``benchmarks.latency`` judge.

``chain`` makes what a candidate of the ``space`` says out of the other commands, ``ranking`` says
which one is better, ``reporting`` and ``picture`` show what was found.
"""

from benchmarks.command import require_packages

require_packages("compress", "optuna")
