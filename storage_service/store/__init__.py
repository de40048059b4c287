"""The janroot as plain files. Synchronous: knows neither grpc nor asyncio.

One writer per thread is assumed (`access.py` sees to it); readers may run alongside and see whole records only.
"""
