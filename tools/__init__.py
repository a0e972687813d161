"""What `make` runs: things built for the cluster and the user, nothing that ships."""
