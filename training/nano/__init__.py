"""The nano checkpoint: a small LTX-2 that learns seven camera moves from generated pictures."""
