"""What benchmarks of short clips share."""
