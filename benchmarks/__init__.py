"""How Headlight measures: accuracy, operating points, latency, budgets; no torch."""
