"""OpenAI's Responses and Conversations over threads: a response is a run, a conversation a thread (decision 0037)."""
