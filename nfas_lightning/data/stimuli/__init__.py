"""What networks are shown: images, clips, sounds, texts, words and their times."""
