"""Read and write the files that pass from one stage to another, verified and whole or not at all."""
