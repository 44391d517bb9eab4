"""What each layer costs each head: ``python -m compress.sensitivity CHECKPOINT --data A``."""
