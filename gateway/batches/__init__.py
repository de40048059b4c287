"""Batches: requests in a file, answered in the queue's class for what nobody waits for."""
