"""HTTP as every route speaks it: requests read, answers and problems (RFC 9457) written, calls
described. All of ``serving`` may import it; it imports ``postgres`` alone."""
