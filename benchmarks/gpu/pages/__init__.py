"""Pages of docs/results that are written from the raw data of the H200."""
