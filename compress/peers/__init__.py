"""What a user would take instead of ``compress.slim``, so that both can be compared fairly."""
