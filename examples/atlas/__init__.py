"""Atlas, memedit's reference model: a small language model of a world known exactly."""
