"""The maths: plain Python on arrays and frames."""
