"""Answers in OpenAI's exact form: what engines say, shaped; what goes on where an earlier attempt ended."""
