"""INT8: ``python -m compress.quantize CHECKPOINT --calibration A --validation B --output DIR``.

``calibration`` draws crops, ``ranges`` measures activations on them, ``placement`` says what is
quantised, ``qdq`` writes it into a graph, ``decisions`` holds all of it. ``drops`` and ``harm``
give layers back to float until the budget of every head holds. ``folding``, ``fake_quant`` and
``qat`` train with the rounding. ``own_decisions`` are OpenVINO's, ``int8_speed`` says whether it
paid.
"""
