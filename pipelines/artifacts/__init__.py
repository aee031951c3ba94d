"""Read and write the files that pass from one stage to another, verified and complete or not at all."""
