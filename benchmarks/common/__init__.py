"""What benchmarks share: servers, clients, worlds, the JSON document. Commands import it."""
