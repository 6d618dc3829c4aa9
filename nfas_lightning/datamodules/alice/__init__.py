"""Alice: BOLD of 27 listeners to twelve minutes of a story (Brennan et al. 2016)."""
