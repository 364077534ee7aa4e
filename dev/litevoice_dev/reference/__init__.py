"""Makes docs/reference from the code, so that what is listed there is what is there."""
