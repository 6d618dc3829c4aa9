"""The Little Prince: nine sections of an audiobook in three languages (OpenNeuro ds003643)."""
