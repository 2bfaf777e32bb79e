"""What stands beside the model's figures: floors that need no content, and rivals that read it."""
