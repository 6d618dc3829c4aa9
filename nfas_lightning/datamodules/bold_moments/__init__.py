"""BOLD Moments: responses to 1,102 clips in 22 functional ROIs of ten subjects."""
