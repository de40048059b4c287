"""What the storage service does in a second, and how long people wait for it, beside what the disk itself can do.

`make bench-storage`, or `python -m bench.storage durable search` for some of the tables. Prints Markdown. The load
generator runs on the same cores as the services. All of it takes about five minutes and 2 GB below the system's folder
for temporary files, which must lie on a disk (`TMPDIR`).
"""
