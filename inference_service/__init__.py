"""Jobs in, tokens out: the only process that starts engines."""
