"""Trainings of what others use to read plates, on the data of our recipes (README.md)."""
