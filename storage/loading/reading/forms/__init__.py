"""What the form of a file is, and how text of each form is taken apart: encoding, grammar, header,
what stands around rows. ``files``, ``rows`` and the readers of ``formats`` import it."""
