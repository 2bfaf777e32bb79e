"""Sound files in, FLAC and spectrograms out."""
