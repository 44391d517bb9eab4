"""Backbones: one architecture a file, each built from a config of its own."""
