"""Where labelled crops come from: lists, trees, tables and tar shards, spelled and checked.

``benchmarks.labelled`` puts them together; that is what others read crops with.
"""
