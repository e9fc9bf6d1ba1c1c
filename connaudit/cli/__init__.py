"""Arguments in, text and exit status out: the only room that knows click, os.environ and the standard streams."""
