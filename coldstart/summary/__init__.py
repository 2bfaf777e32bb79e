"""What a page tells of a run or of a study: a file a section, each from what the folder holds."""
