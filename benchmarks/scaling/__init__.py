"""How throughput grows with batch, threads, parallel callers, cameras and input size."""
