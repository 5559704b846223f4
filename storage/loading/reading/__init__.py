"""Files as people have them -> frames of text, chunk by chunk: found, opened, taken apart."""
