"""165 natural sounds and the six response components of auditory cortex (Norman-Haignere et al. 2015)."""
