"""Models: trained, evaluated, judged by the gate, registered; search, drift, and when to train
anew. It needs ``data``."""
