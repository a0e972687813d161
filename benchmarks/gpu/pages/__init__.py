"""Pages of benchmarks/lab that are written from the raw data of the H200."""
