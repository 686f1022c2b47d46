"""What every node of the graph shares: parameters, queues, messages, diagnostics, running."""
