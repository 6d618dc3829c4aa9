"""What benchmarks of MEG, EEG and other recordings in time share."""
