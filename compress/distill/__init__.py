"""Students and teachers: ``python -m compress.distill STUDENT --teacher CHECKPOINT ...``.

``distillation`` is the loss, on answers and (``hints``) on features; ``teachers`` loads them.
Slimming and quantisation-aware training use the same.
"""
