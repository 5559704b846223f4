"""What one command alone needs: its inputs, and what it runs as a process of its own."""
