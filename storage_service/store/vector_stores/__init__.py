"""Vector stores: which uploads are searched together, their text, and the index that finds it."""
