"""What commands print: tables and logs for people. Only the commands import it; it needs ``local``
and ``processes``."""
