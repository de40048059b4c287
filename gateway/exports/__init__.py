"""Conversations as files to read, made page by page."""
