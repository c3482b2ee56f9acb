"""The edit memory: records, history, namespaces."""
