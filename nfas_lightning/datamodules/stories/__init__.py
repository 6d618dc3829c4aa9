"""What benchmarks of spoken stories share."""
