"""The verb `ablate`: subsets of modalities, several seeds each."""
