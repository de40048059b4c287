"""Fetching from URLs that strangers chose: what may be asked, and by which addresses."""
