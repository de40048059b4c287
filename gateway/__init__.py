"""HTTP in and out: OpenAI's routes and Jan's own. Owns no data."""
