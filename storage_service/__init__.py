"""The storage service: the only process that touches the janroot."""
