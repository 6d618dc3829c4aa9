"""Narratives: spoken stories and their listeners (OpenNeuro ds002345)."""
