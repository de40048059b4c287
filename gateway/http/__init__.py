"""HTTP itself, whatever is asked: the door, bodies in both directions, errors, lists, ranges, server-sent events."""
