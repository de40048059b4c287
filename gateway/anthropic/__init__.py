"""Anthropic's Messages API, told over the same chats: a translation in, and one of what the model says out."""
