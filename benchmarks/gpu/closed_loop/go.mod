module tacho.dev/benchmarks/closed_loop

go 1.26
