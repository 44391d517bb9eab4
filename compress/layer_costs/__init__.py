"""What layers cost in an engine: ``python -m compress.layer_costs CHECKPOINT --engine ENGINE``.

``timing`` and ``engine_timing`` measure, ``table`` holds and interpolates, ``latency`` predicts a
network of any widths.
"""
