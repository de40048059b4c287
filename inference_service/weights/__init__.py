"""Model files: found inside the models folder, read by their headers, handed to engines."""
