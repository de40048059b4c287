"""Threads and whole janroots as zips that are written while they are read."""
