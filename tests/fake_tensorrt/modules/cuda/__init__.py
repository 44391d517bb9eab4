"""A fake cuda-python."""
