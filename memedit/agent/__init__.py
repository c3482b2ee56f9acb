"""Multi-hop question answering."""
