"""Measuring on a device that has neither internet nor torch nor a compiler.

A *kit* is one file: artifacts, crops, a budget, the packages ``runtime`` and ``benchmarks``, and
one script. ``packing`` makes it, ``running`` is what the script runs on the device, ``remote``
does both over SSH and fetches the results.
"""
