"""Batches of requests: what was asked for, what came of it so far, and at the end the files of results."""
