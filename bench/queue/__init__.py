"""What the queue costs, beside a plain Redis list and stream (`make bench-queue`)."""
