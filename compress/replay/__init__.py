"""Repeating a checkpoint's chain: ``python -m compress.replay CHECKPOINT --output DIR``.

``steps`` knows how each command is repeated, ``checks`` what must be as it was.
"""
