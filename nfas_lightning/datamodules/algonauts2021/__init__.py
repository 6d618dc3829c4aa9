"""Algonauts 2021: 1,102 clips of three seconds, ten subjects, the whole brain or nine functional ROIs."""
