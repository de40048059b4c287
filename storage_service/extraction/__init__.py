"""Text out of uploaded files, of which every one may be hostile (docs/security.md S39)."""
