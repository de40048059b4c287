"""Putting a backup in the place of what the janroot holds.

A backup is unpacked beside it (`backup.py`), the process leaves, and the next one swaps the two before it looks at
anything (`swap.py`).
"""
