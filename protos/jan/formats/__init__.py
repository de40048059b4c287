"""What model files say of themselves in their headers, read as a stranger's words."""
