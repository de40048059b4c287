"""What Janroot costs a real engine: the same chats straight to it and through all four processes, in turn.

`make bench-engines`. Both ways ask the same engine process, so nothing differs but the way.
"""
