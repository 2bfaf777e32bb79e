"""Lightning's side: the module, the command line, what is trained, written and reported."""
