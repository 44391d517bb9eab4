"""Network slimming: ``python -m compress.slim CHECKPOINT --data A --validation B --output DIR``.

``tracing`` follows channels through a network, ``groups`` says which can leave together,
``surgery`` masks and removes them. ``scales`` and ``sparsity`` drive scales to zero; ``selection``
and ``pruning`` choose what goes, by share (``config``) or by milliseconds (``latency_goal``,
``loss_curves``); ``recovery`` brings back what data can without training. ``comparison``,
``verdict`` and ``pictures`` say what it brought.
"""
