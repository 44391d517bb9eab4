"""What the device did while something was timed: its state, and the energy that it took.

Nothing here needs more than Python's own library, so it runs on any device that runs the runtime.
What cannot be read is None, with the reason beside it where somebody will ask; never 0.
"""
