"""What a gateway tells the world, kept on disk until the world has taken it.

``event`` says what an event is, ``outbox`` keeps events, ``publisher`` hands them to the sinks
(``json_lines``, ``webhook``, ``mqtt``). Format and promises: docs/events.md.
"""
