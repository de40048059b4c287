"""Conversations of other products as records of ours. Pure: nothing here touches a file."""
