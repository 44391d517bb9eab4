"""HTTP servers that read crops, compared: ``python -m benchmarks.serving`` (see ``cli``).

A *server* is an endpoint and the form in which it takes crops (``forms``). Connections are kept.
Closed loop: every connection asks again as soon as it was answered; what comes out is requests per
second. Open loop: requests arrive by themselves, at random, and latency counts from the moment that
a request was to arrive. The client is a process of its own and knows nothing of what it asks; it
takes processor time as well, which is the same for all, so ratios err towards 1.
"""
