"""How the shipped scope classifier is made; nothing of it is needed to use the classifier."""
