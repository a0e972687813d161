"""What a way of scaling would have done with a trace of requests: replicas by their law, in virtual time."""
