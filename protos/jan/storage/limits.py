"""How much a stream of appends may hold unanswered: the gateway sends no more, and storage reads no more."""

# Many times what runs at once in storage, so that one slow thread leaves room for all others.
MOST_APPENDS = 1024
MOST_APPEND_BYTES = 16 * 1024 * 1024
# A longer message goes by itself: it would keep the short ones waiting behind it.
LONGEST_APPEND_BYTES = 256 * 1024
